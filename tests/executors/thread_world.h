// What the tests of in-process executors share: a real loop, a thread executor, and services that
// are written where they are tested.

#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "executors/native/service_registry.h"
#include "executors/output/output_store.h"
#include "executors/thread/thread_executor.h"
#include "framework/clock.h"
#include "framework/doorbell.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun::test {

using namespace std::chrono_literals;

// Something that one thread waits for and another brings about.
class Signal {
 public:
  void set() {
    set_.store(true);
    bell_.ring();
  }
  [[nodiscard]] bool is_set() const { return set_.load(); }
  bool wait(Duration patience = 20s) const {
    return bell_.wait(patience, [this] { return is_set(); });
  }

 private:
  std::atomic<bool> set_{false};
  Doorbell bell_;
};

// A service of a few lines.
struct Behaviour {
  std::function<void(ServiceContext&)> run = [](ServiceContext&) {};
  std::function<void()> prepare = nullptr;
  std::function<void()> interrupt = nullptr;
  std::function<std::string()> stack = nullptr;
};

class BehavingService final : public Service {
 public:
  explicit BehavingService(Behaviour behaviour) : behaviour_(std::move(behaviour)) {}
  [[nodiscard]] bool needs_preparation() const override { return behaviour_.prepare != nullptr; }
  void prepare() override { behaviour_.prepare(); }
  void run(ServiceContext& context) override { behaviour_.run(context); }
  void interrupt() override {
    if (behaviour_.interrupt) behaviour_.interrupt();
  }
  [[nodiscard]] std::string stack() const override {
    return behaviour_.stack ? behaviour_.stack() : std::string();
  }

 private:
  const Behaviour behaviour_;
};

struct Counts final : ServiceMetrics {
  void count(std::string_view path, std::string_view name, double by) override {
    const std::lock_guard lock(mutex);
    counters[std::string(path) + " " + std::string(name)] += by;
  }
  void gauge(std::string_view path, RunId /*run*/, std::string_view name, double value) override {
    const std::lock_guard lock(mutex);
    gauges[std::string(path) + " " + std::string(name)] = value;
  }
  std::mutex mutex;
  std::map<std::string, double> counters, gauges;
};

struct ThreadWorld final : RunObserver {
  explicit ThreadWorld(ThreadExecutorOptions options = {}) {
    const InProcessParts parts{
        .loop = loop, .bus = bus, .output = output, .native = &registry, .metrics = &metrics};
    executor = std::make_unique<ThreadExecutor>(parts, options);
    subscription =
        bus.subscribe(EventKinds::all(), [this](const Event& event) { events.push_back(event); });
  }

  // Turns the loop until `condition` holds; false after `patience`.
  [[nodiscard]] bool wait_until(const std::function<bool()>& condition, Duration patience = 20s) {
    bool late = false;
    const TimerId limit = loop.start_timer(clock.now() + patience, [&] {
      late = true;
      loop.stop();
    });
    condition_ = condition;
    while (!condition() && !late) loop.run();
    condition_ = nullptr;
    loop.cancel_timer(limit);
    return !late;
  }
  [[nodiscard]] bool wait_for_end() {
    return wait_until([this] { return exits.count(last) > 0 || !ignored.empty(); });
  }

  LaunchOutcome launch(Behaviour behaviour, ServiceSpec spec = {},
                       const std::string& id = "service") {
    const std::string name = "service-" + std::to_string(++made_);
    registry.add(name, [behaviour = std::move(behaviour)](const ServiceSpec&) {
      return std::make_unique<BehavingService>(behaviour);
    });
    spec.target = NativeTarget{name};
    return launch(std::make_shared<const ServiceSpec>(std::move(spec)), id);
  }
  LaunchOutcome launch(std::shared_ptr<const ServiceSpec> spec, const std::string& id = "service") {
    last = RunId{++runs_};
    Launch launch;
    launch.run = last;
    launch.path = "tree/" + id;
    launch.id = id;
    launch.service = std::move(spec);
    return executor->launch(launch, *this);
  }
  ExitReason end_of(Behaviour behaviour, ServiceSpec spec = {}) {
    const LaunchOutcome outcome = launch(std::move(behaviour), std::move(spec));
    if (outcome.state == LaunchOutcome::State::failed) return outcome.reason;
    REQUIRE(wait_for_end());
    return exits[last];
  }

  void on_ready(RunId run) override {
    ready.push_back(run);
    look();
  }
  void on_exited(RunId run, ExitReason reason) override {
    CHECK(exits.emplace(run, std::move(reason)).second);  // Once.
    if (on_exit) on_exit(run);
    look();
  }
  void on_ignored(RunId run) override {
    ignored.push_back(run);
    look();
  }

  template <class Payload>
  [[nodiscard]] std::vector<Payload> published() const {
    std::vector<Payload> found;
    for (const Event& event : events) {
      if (const auto* payload = std::get_if<Payload>(&event.payload)) found.push_back(*payload);
    }
    return found;
  }

  SystemClock clock;
  EventLoop loop{clock};
  EventBus bus{clock};
  OutputStore output{loop, bus};
  ServiceRegistry registry;
  Counts metrics;
  std::unique_ptr<ThreadExecutor> executor;
  Subscription subscription;

  RunId last{};  // Of the latest launch.
  std::vector<RunId> ready;
  std::vector<RunId> ignored;
  std::map<RunId, ExitReason> exits;
  std::vector<Event> events;
  std::function<void(RunId)> on_exit;

 private:
  // What the loop waits for may have come about.
  void look() {
    loop.post([this] {
      if (condition_ && condition_()) loop.stop();
    });
  }

  std::function<bool()> condition_;
  std::uint64_t runs_ = 0;
  std::uint64_t made_ = 0;
};

// Until it is asked to stop.
inline Behaviour patient() {
  return {.run = [](ServiceContext& context) {
    while (!context.cancellation().wait(1h)) {
    }
  }};
}

}  // namespace unirun::test
