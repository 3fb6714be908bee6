// A shared object of services, for "native": "path/lib.so:name". It includes this header, links
// unirun::framework and says once, outside of any namespace, what it holds:
//
//   class Echo final : public unirun::Service { ... };
//   UNIRUN_SERVICE_LIBRARY(unirun::service_entry<Echo>("echo"), ...)
//
// Host and library share C++ types, so the library is built with the very unirun that loads it:
// the host compares version and layout before it touches anything else, and refuses by name.
// A library stays loaded until the host ends.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "executors/service_spec.h"
#include "framework/service.h"
#include "framework/version.h"

namespace unirun {

// A new T for one life: given its spec (arguments, config) where it has a constructor for that.
template <class T>
[[nodiscard]] std::unique_ptr<Service> new_service(const ServiceSpec& spec) {
  static_assert(std::is_base_of_v<Service, T>, "a service derives from unirun::Service");
  if constexpr (std::is_constructible_v<T, const ServiceSpec&>) {
    return std::make_unique<T>(spec);
  } else {
    return std::make_unique<T>();
  }
}

struct ServiceEntry {
  const char* name;
  std::unique_ptr<Service> (*make)(const ServiceSpec& spec);
};

template <class T>
[[nodiscard]] constexpr ServiceEntry service_entry(const char* name) {
  return {name, &new_service<T>};
}

// Sizes of what both sides touch: one version may be built in more ways than one.
constexpr std::uint64_t service_layout() {
  return (sizeof(ServiceSpec) << 32) ^ (sizeof(ExitReason) << 16) ^ sizeof(ServiceLog);
}

struct ServiceLibrary {
  const char* version = nullptr;  // Never moves: it is read from libraries of all times.
  std::uint64_t layout = service_layout();
  const ServiceEntry* entries = nullptr;
  std::size_t count = 0;
};

}  // namespace unirun

// What the host looks for.
#define UNIRUN_SERVICE_LIBRARY_SYMBOL "unirun_service_library"

#define UNIRUN_SERVICE_LIBRARY(...)                                                          \
  extern "C" __attribute__((visibility("default"))) const unirun::ServiceLibrary*            \
  unirun_service_library() {                                                                 \
    static constexpr unirun::ServiceEntry entries[] = {__VA_ARGS__};                         \
    static const unirun::ServiceLibrary library{unirun::version(), unirun::service_layout(), \
                                                entries, sizeof entries / sizeof *entries};  \
    return &library;                                                                         \
  }
