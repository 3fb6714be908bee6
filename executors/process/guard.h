// Guard is the host's end of unirun-guard (guard_main.cpp), the process that kills what is left
// once the host itself has been killed: death signals reach direct children only.
//
// Thread: the loop's. A guard that dies is replaced, with a Warning.

#pragma once

#include <string>
#include <vector>

#include "executors/process/children.h"
#include "executors/process/spawner.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun {

class Guard {
 public:
  // All outlive the guard. `mark` is the host's; `program` as in ProcessExecutorOptions.
  Guard(EventLoop& loop, EventBus& bus, Spawner& spawner, Children& children, std::string mark,
        const std::string& program);

  // Says goodbye and waits for the guard's own last look round: some milliseconds, unless it has
  // been dismissed.
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // Errors: the program is in none of the places (all named), or does not run.
  [[nodiscard]] Status start();

  // Nothing is left that it would have to look for, and nothing will come: it ends at once.
  void dismiss();

  [[nodiscard]] pid_t pid() const { return process_.pid; }

 private:
  void say(char word);
  void on_died();

  EventLoop& loop_;
  EventBus& bus_;
  Spawner& spawner_;
  Children& children_;
  const std::string mark_;
  const std::vector<std::string> places_;  // Where the program may be.
  SpawnedProcess process_;
  UniqueFd goodbye_;
  Watch death_;
  TimerId retry_ = TimerId::none;
};

// Kills what an earlier host of this user left behind together with its guard: every process of
// this pid namespace that carries the mark of a host that is gone. Returns how many. Blocks for
// some milliseconds.
std::uint64_t finish_leftovers();

}  // namespace unirun
