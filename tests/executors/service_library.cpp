// A shared object of services for the tests; built a few times over, each wrong in one way.

#include "executors/native/service_library.h"

namespace {

using namespace unirun;

// Logs its first argument, and waits for its end.
class Echo final : public Service {
 public:
  explicit Echo(const ServiceSpec& spec)
      : text_(spec.arguments.empty() ? "nothing" : spec.arguments.front().get<std::string>()) {}

  void run(ServiceContext& context) override {
    context.log({{}, "INFO", "echo", text_, "", 0});
    context.ready();
    while (!context.cancellation().wait(std::chrono::hours{1})) {
    }
    context.cancellation().raise_if_cancelled();  // Caught by the host, which is other code.
  }

 private:
  const std::string text_;
};

class Crash final : public Service {
 public:
  void run(ServiceContext&) override { throw std::runtime_error("from afar"); }
};

}  // namespace

#if defined(WITHOUT_ENTRY)
extern "C" __attribute__((visibility("default"))) int something_else() { return 1; }
#elif defined(OF_ANOTHER_VERSION)
extern "C" __attribute__((visibility("default"))) const unirun::ServiceLibrary*
unirun_service_library() {
  static const unirun::ServiceLibrary library{"0.0.1", unirun::service_layout(), nullptr, 0};
  return &library;
}
#elif defined(OF_ANOTHER_LAYOUT)
extern "C" __attribute__((visibility("default"))) const unirun::ServiceLibrary*
unirun_service_library() {
  static const unirun::ServiceLibrary library{unirun::version(), 7, nullptr, 0};
  return &library;
}
#else
UNIRUN_SERVICE_LIBRARY(unirun::service_entry<Echo>("echo"), unirun::service_entry<Crash>("crash"))
#endif
