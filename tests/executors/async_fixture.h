// AsyncFixture is an AsyncExecutor on a loop of its own, with services given as functions, and what
// its observer has heard.

#pragma once

#include <doctest/doctest.h>
#include <malloc.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "executors/async/async_executor.h"
#include "executors/output/output_store.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/service.h"

namespace unirun {

struct AsyncFixture : RunObserver, ServiceFactory {
  using Run = Task<> (*)(ServiceContext&);
  using Make = std::function<std::unique_ptr<Service>()>;

  struct FunctionService final : Service {
    explicit FunctionService(std::function<Task<>(ServiceContext&)> a_function)
        : function(std::move(a_function)) {}
    Task<> run_async(ServiceContext& context) override { return function(context); }
    std::function<Task<>(ServiceContext&)> function;
  };

  explicit AsyncFixture(AsyncExecutorOptions options = {})
      : executor({loop, bus, output, this, this, nullptr}, options) {
    spec.target = NativeTarget{"test"};
  }

  // ---- Launching ----
  RunId launch(std::function<Task<>(ServiceContext&)> function, bool native = true) {
    if (native) spec.target = NativeTarget{"test"};
    return launch_service(
        [function = std::move(function)] { return std::make_unique<FunctionService>(function); });
  }
  RunId launch_service(Make a_make) {
    make_service = std::move(a_make);
    last_run = RunId{static_cast<std::uint64_t>(last_run) + 1};
    Launch launch;
    launch.run = last_run;
    launch.id = "a";
    launch.path = path_of(last_run);
    launch.service = std::make_shared<ServiceSpec>(spec);
    outcome = executor.launch(launch, *this);
    make_service = nullptr;
    return launch.run;
  }
  LaunchOutcome::State launch_state(Run run) {
    launch(run);
    return outcome.state;
  }
  [[nodiscard]] std::string path_of(RunId run) const {
    return "tree/a" + std::to_string(static_cast<std::uint64_t>(run));
  }

  // ---- Waiting ----
  void turn_until(const std::function<bool()>& done, Duration patience = std::chrono::minutes{1}) {
    using namespace std::chrono_literals;
    const Instant limit = clock.now() + patience;
    while (!done() && clock.now() < limit) {
      const TimerId look = loop.start_timer(clock.now() + 1ms, [this] { loop.stop(); });
      loop.run();
      loop.cancel_timer(look);
    }
    REQUIRE(done());
  }
  void turn_for(Duration duration) {
    const Instant until = clock.now() + duration;
    turn_until([&] { return clock.now() >= until; });
  }
  ExitReason end_of(RunId run) {
    turn_until([&] { return ends.count(run) > 0; });
    return ends.at(run);
  }
  [[nodiscard]] std::size_t count(EventKind kind) const {
    const auto found = events.find(kind);
    return found == events.end() ? 0 : found->second;
  }
  static std::size_t bytes_in_use() { return mallinfo2().uordblks; }

  // ---- RunObserver ----
  void on_ready(RunId run) override { readies.push_back(run); }
  void on_ignored(RunId run) override { ignored.push_back(run); }
  void on_exited(RunId run, ExitReason reason) override {
    if (keep_ends) ends[run] = std::move(reason);
    if (on_end) on_end();
  }

  // ---- ServiceFactory ----
  Result<std::unique_ptr<Service>> make(const ServiceSpec&, ServiceStyle style) override {
    CHECK(style == ServiceStyle::async);
    return make_service();
  }

  SystemClock clock;
  EventLoop loop{clock};
  EventBus bus{clock};
  OutputStore output{loop, bus};
  std::map<EventKind, std::size_t> events;
  Subscription all =
      bus.subscribe(EventKinds::all(), [this](const Event& e) { ++events[e.kind()]; });

  ServiceSpec spec;
  Make make_service;
  RunId last_run{};
  LaunchOutcome outcome;
  std::vector<RunId> readies, ignored;
  std::map<RunId, ExitReason> ends;
  bool keep_ends = true;
  std::function<void()> on_end;

  AsyncExecutor executor;  // Last: gone first.
};

}  // namespace unirun
