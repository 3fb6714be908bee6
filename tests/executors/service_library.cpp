// A shared object of services for the tests; built a few times over, each wrong in one way.

#include <algorithm>
#include <chrono>
#include <random>
#include <stdexcept>

#include "executors/native/service_library.h"
#include "framework/awaitables.h"

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

// Lives for a moment, on a thread or on the loop, and ends in a way that chance chooses.
class Moody final : public Service {
 public:
  explicit Moody(const ServiceSpec& spec)
      : mean_(spec.config.at("life").get<double>()), engine_(std::random_device{}()) {}

  void run(ServiceContext& context) override {
    context.ready();
    while (!context.cancellation().wait(life())) {
      if (over(context)) return;
    }
  }

  Task<> run_async(ServiceContext& context) override {
    context.ready();
    while (true) {
      co_await sleep_for(context, life());
      if (over(context)) co_return;
    }
  }

 private:
  Duration life() {
    const std::chrono::duration<double> drawn{
        std::exponential_distribution<>(1.0 / mean_)(engine_)};
    return std::chrono::duration_cast<Duration>(std::min(drawn, decltype(drawn){4.0 * mean_}));
  }

  bool over(ServiceContext& context) {
    context.heartbeat();
    switch (std::uniform_int_distribution<>(0, 3)(engine_)) {
      case 0: throw std::runtime_error("a mood");
      case 1: throw ServiceEnded(ExitReason::of(ExitKind::exit_code, "exit code 2"));
      case 2: context.log({{}, "INFO", "mood", "still here", "", 0}); return false;
      default: return true;
    }
  }

  const double mean_;
  std::mt19937 engine_;
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
UNIRUN_SERVICE_LIBRARY(unirun::service_entry<Echo>("echo"), unirun::service_entry<Crash>("crash"),
                       unirun::service_entry<Moody>("moody"))
#endif
