#include "executors/native/service_registry.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "framework/nearest.h"
#include "framework/require.h"

namespace unirun {
namespace {

Error refuse(std::string message) { return Error{Errc::start_failed, std::move(message)}; }

template <class Map>
std::vector<std::string> keys_of(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

Error unknown_name(const std::string& name, const std::vector<std::string>& known,
                   std::string_view where) {
  std::string message = fmt::format("no native service \"{}\" is registered{}", name, where);
  const std::string meant = nearest(name, known);
  if (!meant.empty()) {
    message += fmt::format("; did you mean \"{}\"?", meant);
  } else if (known.empty()) {
    message += "; there is none at all";
  } else {
    message += fmt::format("; there is: {}", fmt::join(known, ", "));
  }
  return refuse(std::move(message));
}

std::string loader_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "unknown error";
}

}  // namespace

ServiceRegistry& ServiceRegistry::of_program() {
  static auto* registry = new ServiceRegistry;  // Outlives every thread of a service.
  return *registry;
}

void ServiceRegistry::add(std::string name, Make make) {
  UNIRUN_REQUIRE(!name.empty() && name.find(':') == std::string::npos && make != nullptr);
  const std::lock_guard lock(mutex_);
  const bool is_new = makers_.emplace(std::move(name), std::move(make)).second;
  UNIRUN_REQUIRE(is_new);
}

std::vector<std::string> ServiceRegistry::names() const {
  const std::lock_guard lock(mutex_);
  return keys_of(makers_);
}

Status ServiceRegistry::check(const std::string& name) {
  const auto found = find(name);
  if (!found) return found.error();
  return {};
}

Result<std::unique_ptr<Service>> ServiceRegistry::make(const ServiceSpec& spec,
                                                       ServiceStyle /*style*/) {
  const auto* target = std::get_if<NativeTarget>(&spec.target);
  UNIRUN_REQUIRE(target != nullptr);
  const auto found = find(target->name);
  if (!found) return found.error();
  auto service = (*found)(spec);  // May throw: the executor tells it as a failed start.
  if (!service) return refuse(fmt::format("the maker of \"{}\" made nothing", target->name));
  return service;
}

Result<ServiceRegistry::Make> ServiceRegistry::find(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const std::size_t colon = name.rfind(':');
  if (colon == std::string::npos) {
    const auto found = makers_.find(name);
    if (found == makers_.end()) return unknown_name(name, keys_of(makers_), "");
    return found->second;
  }
  const std::string path = name.substr(0, colon);
  const std::string own_name = name.substr(colon + 1);
  const auto makers = load(path);
  if (!makers) return makers.error();
  const auto found = (*makers)->find(own_name);
  if (found == (*makers)->end()) {
    return unknown_name(own_name, keys_of(**makers), fmt::format(" in {}", path));
  }
  return found->second;
}

// Never unloaded: threads, exceptions and abandoned services may hold on to its code.
Result<const ServiceRegistry::Makers*> ServiceRegistry::load(const std::string& path) {
  if (const auto known = libraries_.find(path); known != libraries_.end()) return &known->second;
  if (path.empty()) return refuse("native service: write \"name\" or \"path/lib.so:name\"");
  // A bare name would be looked up in the system's folders.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  void* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return refuse("native service: " + loader_error());
  using Entry = const ServiceLibrary* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(handle, UNIRUN_SERVICE_LIBRARY_SYMBOL));
  const auto fail = [&](std::string message) {
    ::dlclose(handle);
    return refuse(fmt::format("native service: {}: {}", path, message));
  };
  if (entry == nullptr) {
    return fail("it has no " UNIRUN_SERVICE_LIBRARY_SYMBOL
                "(); write UNIRUN_SERVICE_LIBRARY(...) once in it "
                "(executors/native/service_library.h)");
  }
  const ServiceLibrary* library = entry();
  if (library == nullptr || library->version == nullptr) return fail("it holds no services");
  if (std::string_view(library->version) != version()) {
    return fail(fmt::format("it was built with unirun {}, and this is {}; build it again",
                            library->version, version()));
  }
  if (library->layout != service_layout()) {
    return fail(
        "it was built with another compiler or other settings than this unirun; build it "
        "again with the same");
  }
  Makers makers;
  for (std::size_t i = 0; i < library->count; ++i) {
    makers.emplace(library->entries[i].name, library->entries[i].make);
  }
  return &libraries_.emplace(path, std::move(makers)).first->second;
}

}  // namespace unirun
