// What a sanitizer needs of the program that it looks at.

#pragma once

// UBSan asks by a pipe whether the object of a call can be read, and takes it for a wrong one where
// no descriptor is left. Tests that leave none run without it, and under ThreadSanitizer.
#if defined(__SANITIZE_ADDRESS__)  // UBSan goes with it.
constexpr bool sanitizer_needs_descriptors = true;
#else
constexpr bool sanitizer_needs_descriptors = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif
