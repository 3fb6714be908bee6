#include "framework/service.h"

#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"

namespace unirun {
namespace {

// The context of a service that waits on a loop of its own.
class ContextOnOwnLoop final : public ServiceContext {
 public:
  ContextOnOwnLoop(ServiceContext& given, EventLoop& loop) : given_(given), loop_(loop) {}

  [[nodiscard]] const std::string& id() const override { return given_.id(); }
  [[nodiscard]] const std::string& path() const override { return given_.path(); }
  [[nodiscard]] const nlohmann::json& config() const override { return given_.config(); }
  [[nodiscard]] CancellationToken cancellation() const override { return given_.cancellation(); }
  void ready() override { given_.ready(); }
  void heartbeat() override { given_.heartbeat(); }
  void status(std::string_view text) override { given_.status(text); }
  void log(ServiceLog record) override { given_.log(std::move(record)); }
  void count(std::string_view counter, double by) override { given_.count(counter, by); }
  void gauge(std::string_view gauge, double value) override { given_.gauge(gauge, value); }
  [[nodiscard]] std::shared_ptr<EventQueue> open_events(EventKinds kinds,
                                                        std::size_t capacity) override {
    return given_.open_events(kinds, capacity);
  }
  [[nodiscard]] EventLoop& loop() override { return loop_; }

 private:
  ServiceContext& given_;
  EventLoop& loop_;
};

[[noreturn]] void cannot_start(const char* why) {
  throw ServiceEnded(ExitReason::of(ExitKind::start_failed, why));
}

}  // namespace

void Service::run(ServiceContext& context) {
  const SystemClock clock;
  EventLoop loop(clock);
  ContextOnOwnLoop own(context, loop);
  run_task(loop, run_async(own));
}

// No coroutine: it says what is missing before anything waits.
Task<> Service::run_async(ServiceContext& context) {
  if (dynamic_cast<ContextOnOwnLoop*>(&context) != nullptr) {
    cannot_start("the service overrides neither run() nor run_async()");
  }
  cannot_start(
      "the service has no run_async(), and run() would block the loop: give it the thread "
      "executor");
}

}  // namespace unirun
