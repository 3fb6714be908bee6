// World: a supervision tree in simulated time, with an executor that a test can script, and short
// words for what most tests say.

#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "framework/event_bus.h"
#include "framework/random.h"
#include "framework/simulated_time.h"
#include "supervisors/supervision_tree.h"
#include "supervisors/supervision_world.h"
#include "tests/supervisors/simulated_executor.h"

namespace unirun::testing {

using namespace std::chrono_literals;

inline ChildSpec worker(std::string id, Restart restart = Restart::permanent) {
  ChildSpec spec;
  auto service = std::make_shared<ServiceSpec>();
  service->target = CommandTarget{{"/bin/" + id}};
  spec.id = std::move(id);
  spec.service = std::move(service);
  spec.restart = restart;
  return spec;
}

inline ChildSpec supervisor(std::string id, SupervisorSpec below) {
  ChildSpec spec;
  spec.id = std::move(id);
  spec.supervisor = std::make_shared<const SupervisorSpec>(std::move(below));
  return spec;
}

inline SupervisorSpec supervise(RestartStrategy strategy, std::vector<ChildSpec> children) {
  SupervisorSpec spec;
  spec.strategy = strategy;
  spec.max_restarts = 1000;
  spec.children = std::move(children);
  return spec;
}

inline ExitReason crash() {
  ExitReason reason = ExitReason::of(ExitKind::exit_code);
  reason.exit_code = 1;
  return reason;
}

inline ExitReason stuck() { return ExitReason::of(ExitKind::stuck, "its thread is abandoned"); }

struct World {
  explicit World(SupervisorSpec spec, std::uint64_t seed = 1)
      : random(seed), tree(environment(), std::make_shared<const SupervisorSpec>(std::move(spec))) {
    executors.add("process", executor);
    subscription =
        bus.subscribe(EventKinds::all(), [this](const Event& event) { events.push_back(event); });
  }

  // Starts the tree; tests whose children are slow then advance the time.
  World& start() {
    const Status accepted = tree.start([this](Status status) { started = std::move(status); },
                                       [this](ExitReason reason) { ended = std::move(reason); });
    if (!accepted) refused = accepted.error();
    settle();
    return *this;
  }

  void settle() { time.advance(0ns); }
  void advance(Duration by) { time.advance(by); }

  // The present run of `name` ends; all that follows at once has happened on return.
  void exit(const std::string& name, const ExitReason& reason = crash()) {
    executor.end(executor.run_of(name), reason);
    settle();
  }

  // What was touched since the last time this was asked.
  std::vector<std::string> touched() { return std::exchange(executor.log, {}); }

  // The same, of starts only; and of ends as the supervisor wanted them.
  std::vector<std::string> touched(const std::string& verb) {
    std::vector<std::string> ids;
    for (const std::string& line : executor.log) {
      if (line.compare(0, verb.size() + 1, verb + " ") == 0)
        ids.push_back(line.substr(verb.size() + 1));
    }
    return ids;
  }
  void forget() {
    executor.log.clear();
    events.clear();
  }

  [[nodiscard]] ServiceState state(const std::string& path) const {
    const auto child = tree.find(path);
    return child ? child->state : ServiceState::failed;
  }
  [[nodiscard]] bool knows(const std::string& path) const { return tree.find(path).ok(); }

  // A reply that a test can look at: empty until it comes; counts how often it came.
  struct Answer {
    std::optional<Result<ChildSnapshot>> value;
    int times = 0;
    [[nodiscard]] bool ok() const { return times == 1 && value->ok(); }
    [[nodiscard]] std::string code() const {
      if (times != 1) return times == 0 ? "none yet" : "more than one";
      return value->ok() ? "ok" : std::string(to_string(value->error().code));
    }
  };
  using Asked = std::shared_ptr<Answer>;
  static SupervisionTree::Reply into(const Asked& answer) {
    return [answer](const Result<ChildSnapshot>& outcome) {
      answer->value = outcome;
      ++answer->times;
    };
  }
  template <class Call>
  Asked ask(Call call) {
    auto answer = std::make_shared<Answer>();
    call(into(answer));
    settle();
    return answer;
  }
  Asked start_child(const std::string& at, ChildSpec spec) {
    return ask([&](auto reply) { tree.start_child(at, std::move(spec), reply); });
  }
  Asked start_dynamic(const std::string& at, Arguments arguments = {}) {
    return ask([&](auto reply) { tree.start_child(at, std::move(arguments), reply); });
  }
  Asked terminate(const std::string& at, const ChildRef& child) {
    return ask([&](auto reply) { tree.terminate_child(at, child, reply); });
  }
  Asked restart_child(const std::string& at, const ChildRef& child) {
    return ask([&](auto reply) { tree.restart_child(at, child, reply); });
  }
  Asked delete_child(const std::string& at, const ChildRef& child) {
    return ask([&](auto reply) { tree.delete_child(at, child, reply); });
  }
  Asked restart(const std::string& at, const ChildRef& child) {
    return ask([&](auto reply) { tree.restart(at, child, reply); });
  }
  Asked kill(const std::string& at, const ChildRef& child) {
    return ask([&](auto reply) { tree.kill(at, child, reply); });
  }

  [[nodiscard]] std::size_t count(EventKind kind, const std::string& path = {}) const {
    std::size_t n = 0;
    for (const Event& event : events)
      n += event.kind() == kind && (path.empty() || event.path == path);
    return n;
  }

  // The payload of the last event of this type; null if there was none.
  template <class Payload>
  [[nodiscard]] const Payload* last() const {
    for (auto event = events.rbegin(); event != events.rend(); ++event) {
      if (const auto* payload = std::get_if<Payload>(&event->payload)) return payload;
    }
    return nullptr;
  }

  SupervisionWorld environment() { return {time, time, random, bus, executors, runs}; }

  SimulatedTime time;
  Random random;
  EventBus bus{time};
  Executors executors;
  RunIds runs;
  SimulatedExecutor executor{time, time};
  std::vector<Event> events;
  Subscription subscription;
  std::optional<Status> started;
  std::optional<ExitReason> ended;
  std::optional<Error> refused;
  SupervisionTree tree;
};

using Ids = std::vector<std::string>;

// Starts it, lets `time` pass, and forgets the trace of it: what follows is the test's own.
inline World& started(World& world, Duration time = Duration::zero()) {
  world.start();
  world.advance(time);
  if (!world.started || !world.started->ok()) throw std::logic_error("the tree has not started");
  world.forget();
  return world;
}

}  // namespace unirun::testing
