// SimulatedExecutor runs services that do not exist: each behaves as its script says, on simulated
// time, and every touch is written down. Shared by the tests of supervision, the simulation and the
// oracle.

#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "executors/executor.h"
#include "framework/clock.h"
#include "framework/timers.h"

namespace unirun::testing {

// How one run behaves. The default is ready at once, lives for ever, and stops at once when asked.
struct Behaviour {
  enum class Start { ready, after, never, fails, ignores, over };

  Start start = Start::ready;
  Duration start_delay{};              // Start::after: until ready.
  std::optional<Duration> dies_after;  // From launch, by itself ...
  ExitReason dies_of = ExitReason::of(ExitKind::exit_code, "exit code 1");  // ... of this.
  bool ignores_stop = false;
  Duration stop_delay{};  // From request to exit.
  Duration kill_delay{};  // From kill to exit: even the kernel takes its time.
};

inline Behaviour slow(Duration delay) {
  Behaviour behaviour;
  behaviour.start = Behaviour::Start::after;
  behaviour.start_delay = delay;
  return behaviour;
}

inline Behaviour failing() {
  Behaviour behaviour;
  behaviour.start = Behaviour::Start::fails;
  return behaviour;
}

class SimulatedExecutor final : public Executor {
 public:
  using Script = std::function<Behaviour(const Launch&)>;

  struct Run {
    std::string path;
    std::string id;
    RunObserver* observer = nullptr;
    Behaviour behaviour;
    bool ready = false;
    bool asked_to_stop = false;
    std::shared_ptr<const ServiceSpec> service;
    std::vector<TimerId> timers;
  };

  SimulatedExecutor(const Clock& clock, Timers& timers) : clock_(clock), timers_(timers) {}

  // Ids and what they do; one that is not named behaves well. `script` decides for all the others.
  std::map<std::string, Behaviour> behaviours;
  Script script;

  // "start a", "ready a", "stop a", "kill a", "exit a", in the order of happening.
  std::function<void(std::string)> on_touch = [this](std::string line) {
    log.push_back(std::move(line));
  };
  std::vector<std::string> log;

  LaunchOutcome launch(const Launch& launch, RunObserver& observer) override {
    const auto found = behaviours.find(launch.id);
    Behaviour behaviour = found != behaviours.end() ? found->second
                          : script                  ? script(launch)
                                                    : Behaviour{};
    on_touch("start " + launch.id);
    LaunchOutcome outcome;
    if (behaviour.start == Behaviour::Start::fails) {
      on_touch("fail " + launch.id);
      outcome.reason = ExitReason::of(ExitKind::start_failed, "exec: no such file");
      return outcome;
    }
    if (behaviour.start == Behaviour::Start::ignores) {
      on_touch("ignore " + launch.id);
      outcome.state = LaunchOutcome::State::ignored;
      return outcome;
    }
    Run run;
    run.path = launch.path;
    run.id = launch.id;
    run.observer = &observer;
    run.service = launch.service;
    outcome.pid = ++last_pid_;
    const RunId id = launch.run;
    if (behaviour.start == Behaviour::Start::ready) {
      on_touch("ready " + launch.id);
      run.ready = true;
      outcome.state = LaunchOutcome::State::running;
    } else if (behaviour.start == Behaviour::Start::over) {
      outcome.state = LaunchOutcome::State::over;
      run.timers.push_back(
          after(Duration::zero(), [this, id, why = behaviour.dies_of] { end(id, why); }));
    } else {
      outcome.state = LaunchOutcome::State::starting;
      if (behaviour.start == Behaviour::Start::after) {
        run.timers.push_back(after(behaviour.start_delay, [this, id] { become_ready(id); }));
      }
    }
    if (behaviour.dies_after) {
      run.timers.push_back(
          after(*behaviour.dies_after, [this, id, why = behaviour.dies_of] { end(id, why); }));
    }
    run.behaviour = std::move(behaviour);
    runs.emplace(id, std::move(run));
    return outcome;
  }

  void request_stop(RunId id) override {
    const auto found = runs.find(id);
    if (found == runs.end() || found->second.asked_to_stop) return;
    Run& run = found->second;
    run.asked_to_stop = true;
    on_touch("stop " + run.id);
    if (run.behaviour.ignores_stop) return;
    run.timers.push_back(
        after(run.behaviour.stop_delay, [this, id] { end(id, ExitReason::shutdown()); }));
  }

  void kill(RunId id) override {
    const auto found = runs.find(id);
    if (found == runs.end()) return;
    on_touch("kill " + found->second.id);
    found->second.timers.push_back(after(found->second.behaviour.kill_delay, [this, id] {
      ExitReason reason = ExitReason::of(ExitKind::signal);
      reason.signal = 9;
      end(id, reason);
    }));
  }

  [[nodiscard]] std::size_t running() const override { return runs.size(); }

  // ---- What a test may do ----

  // The newest run of this id or path; none if there is none.
  [[nodiscard]] RunId run_of(const std::string& name) const {
    for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
      if (run->second.id == name || run->second.path == name) return run->first;
    }
    return RunId::none;
  }
  [[nodiscard]] bool runs_now(const std::string& name) const { return run_of(name) != RunId::none; }

  void become_ready(RunId id) {
    const auto found = runs.find(id);
    if (found == runs.end() || found->second.ready) return;
    found->second.ready = true;
    on_touch("ready " + found->second.id);
    found->second.observer->on_ready(id);
  }

  void end(RunId id, const ExitReason& reason) {
    const auto found = runs.find(id);
    if (found == runs.end()) return;
    for (const TimerId timer : found->second.timers) timers_.cancel_timer(timer);
    RunObserver* observer = found->second.observer;
    on_touch("exit " + found->second.id);
    runs.erase(found);
    observer->on_exited(id, reason);
  }

  std::map<RunId, Run> runs;

 private:
  TimerId after(Duration delay, std::function<void()> function) {
    return timers_.start_timer(clock_.now() + delay, std::move(function));
  }

  const Clock& clock_;
  Timers& timers_;
  std::int64_t last_pid_ = 1000;
};

}  // namespace unirun::testing
