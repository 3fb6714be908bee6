// What a sanitizer needs of the program that it looks at.

#pragma once

// UBSan asks by a pipe whether the object of a call can be read, and takes it for a wrong one where
// no descriptor is left. Tests that leave none run without it, and under ThreadSanitizer.
#if defined(__SANITIZE_ADDRESS__)  // UBSan goes with it.
constexpr bool sanitizer_needs_descriptors = true;
#else
constexpr bool sanitizer_needs_descriptors = false;
#endif

// AddressSanitizer of gcc 12 does not hold its allocator still for a fork(): a child waits for ever
// for a lock of it that another thread held. Tests fork there while no other thread has work.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool sanitizer_forks_alone = true;
#else
constexpr bool sanitizer_forks_alone = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif
