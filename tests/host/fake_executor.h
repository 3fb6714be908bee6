// FakeExecutor runs services that exist in name only. They start at once and stop when asked,
// unless a test says otherwise; crash() ends one.
//
// Thread: the loop's.

#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "executors/executor.h"
#include "framework/event_loop.h"

namespace unirun {

class FakeExecutor final : public Executor {
 public:
  explicit FakeExecutor(EventLoop& loop) : loop_(&loop) {}
  FakeExecutor() = default;  // Works once a loop has been given.
  void use(EventLoop& loop) { loop_ = &loop; }

  std::set<std::string> never_ready;    // Ids.
  std::set<std::string> cannot_start;   // Ids.
  std::set<std::string> will_not_stop;  // Ids; only a kill ends them.

  LaunchOutcome launch(const Launch& launch, RunObserver& observer) override {
    ++launches[launch.path];
    if (cannot_start.count(launch.id) > 0) {
      return {LaunchOutcome::State::failed, ExitReason::of(ExitKind::start_failed, "as told"), 0};
    }
    runs_[launch.run] = {launch.path, launch.id, &observer};
    const auto state = never_ready.count(launch.id) > 0 ? LaunchOutcome::State::starting
                                                        : LaunchOutcome::State::running;
    return {state, {}, 1000 + static_cast<std::int64_t>(launch.run)};
  }
  void request_stop(RunId run) override {
    const auto found = runs_.find(run);
    if (found == runs_.end() || will_not_stop.count(found->second.id) > 0) return;
    end(run, ExitReason::shutdown());
  }
  void kill(RunId run) override { end(run, ExitReason::of(ExitKind::killed)); }
  [[nodiscard]] std::size_t running() const override { return runs_.size(); }

  // The service at `path` ends by itself. False if it does not run.
  bool crash(const std::string& path, int exit_code = 1) {
    for (const auto& [run, one] : runs_) {
      if (one.path != path) continue;
      ExitReason reason = ExitReason::of(ExitKind::exit_code);
      reason.exit_code = exit_code;
      end(run, reason);
      return true;
    }
    return false;
  }

  std::map<std::string, int> launches;  // By path.

 private:
  struct Run {
    std::string path, id;
    RunObserver* observer = nullptr;
  };

  void end(RunId run, ExitReason reason) {
    loop_->post([this, run, reason = std::move(reason)] {
      const auto found = runs_.find(run);
      if (found == runs_.end()) return;
      RunObserver* observer = found->second.observer;
      runs_.erase(found);
      observer->on_exited(run, reason);
    });
  }

  EventLoop* loop_ = nullptr;
  std::map<RunId, Run> runs_;
};

}  // namespace unirun
