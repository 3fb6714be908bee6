// ServiceRegistry knows C++ services by name: those that a program has registered, and those of
// shared objects, "path/lib.so:name" (service_library.h).
//
//   UNIRUN_REGISTER_SERVICE(Echo, "echo")            in a .cpp file of the program, or
//   unirun::register_service<Echo>("echo");          before the host starts
//
// Thread: any. A name, once known, stays.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "executors/native/service_library.h"
#include "executors/service_factory.h"
#include "framework/result.h"

namespace unirun {

class ServiceRegistry final : public ServiceFactory {
 public:
  using Make = std::function<std::unique_ptr<Service>(const ServiceSpec& spec)>;

  // Where UNIRUN_REGISTER_SERVICE and register_service() put theirs.
  [[nodiscard]] static ServiceRegistry& of_program();

  // REQUIRES: a name without ':', known to nobody yet.
  void add(std::string name, Make make);

  // In order.
  [[nodiscard]] std::vector<std::string> names() const;

  // Can a service of this name be made? Loads the shared object that it names, and so may block.
  // Errors: no such name, with the nearest known; a shared object that does not load, has no
  // services or was built with another unirun, with what would be right.
  [[nodiscard]] Status check(const std::string& name);

  // Blocks on the disk where a shared object is named that check() has not seen.
  [[nodiscard]] Result<std::unique_ptr<Service>> make(const ServiceSpec& spec,
                                                      ServiceStyle style) override;

 private:
  using Makers = std::map<std::string, Make, std::less<>>;

  [[nodiscard]] Result<Make> find(const std::string& name);
  [[nodiscard]] Result<const Makers*> load(const std::string& path);

  mutable std::mutex mutex_;                 // Guards both.
  Makers makers_;                            // Of the program.
  std::map<std::string, Makers> libraries_;  // Those that loaded, by path.
};

template <class T>
void register_service(std::string name) {
  ServiceRegistry::of_program().add(std::move(name), new_service<T>);
}

}  // namespace unirun

#define UNIRUN_JOIN_(a, b) a##b
#define UNIRUN_JOIN(a, b) UNIRUN_JOIN_(a, b)
#define UNIRUN_REGISTER_SERVICE(type, name)                                                  \
  namespace {                                                                                \
  [[maybe_unused]] const bool UNIRUN_JOIN(unirun_service_registered_,                        \
                                          __LINE__) = (unirun::register_service<type>(name), \
                                                       true);                                \
  }
