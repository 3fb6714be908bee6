// StraySweeper ends what a run leaves behind outside its process group: descendants that called
// setsid() or forked twice. The host is a sub-reaper, so they come to be its children when their
// parent dies; a sweep looks through /proc for children of the host that it has not started, asks
// their environment for the mark of their run, and kills those whose run has ended, with all below
// them, until a pass finds none. Adopted processes that have died are reaped.
//
// A sweep begins some milliseconds after a run's end, when its replacement has been launched:
// reading /proc takes longer than a spawn, and the two do not disturb each other (a port that a
// stray still holds is the exception; the replacement fails then, and is tried again). One sweep
// serves all ends since the last one.
//
// Thread: the loop's; /proc is read, and strays are killed, on a worker thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executors/process/children.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun {

class StraySweeper {
 public:
  // What has been launched, by the numbers in the marks.
  struct Launches {
    std::vector<std::uint64_t> live;  // In any order.
    std::uint64_t last = 0;           // A later one is alive, for all that a sweep knows.
  };

  // All outlive the sweeper. `sole_parent`: see ProcessExecutorOptions.
  StraySweeper(EventLoop& loop, EventBus& bus, const Children& children, std::string host_mark,
               bool sole_parent, std::function<Launches()> launches);
  ~StraySweeper();
  StraySweeper(const StraySweeper&) = delete;
  StraySweeper& operator=(const StraySweeper&) = delete;

  // The run of that number has ended: calls `on_swept` once all that it left behind is dead.
  // REQUIRES: it is not among the live ones any more.
  void run_ended(std::uint64_t number, std::string path, std::function<void()> on_swept);

  // A child that we do not know may have died (SIGCHLD): have it reaped before long.
  void reap_soon();

  // Calls `on_drained` once no process that carries our mark is left, nor one that was adopted.
  // REQUIRES: no run is alive.
  void drain(std::function<void()> on_drained);

 private:
  struct Ended {
    std::uint64_t number = 0;
    std::string path;
    std::function<void()> on_swept;
  };
  struct Sweep;

  void schedule(Duration wait);
  void begin();
  void on_swept(const Sweep& sweep, std::vector<Ended>& ended);
  void report(const Sweep& sweep, const std::vector<Ended>& ended);
  void reap_adopted();
  static void reap(pid_t pid);

  EventLoop& loop_;
  EventBus& bus_;
  const Children& children_;
  const std::string host_mark_;
  const bool sole_parent_;
  const std::function<Launches()> launches_;

  std::vector<Ended> ended_;  // Since the last sweep began.
  std::function<void()> on_drained_;
  bool sweep_wanted_ = false;
  bool reap_wanted_ = false;
  bool sweeping_ = false;
  TimerId timer_ = TimerId::none;
  Instant earliest_{};  // Of the next sweep.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace unirun
