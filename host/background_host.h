// BackgroundHost runs a host on a thread of its own, with its own loop and clock: the door for
// programs that have a main thread already (Python, tests, an embedding program).
//
// Thread: any, one call at a time, except handle() and wait(), which any number may use. Never from
// the loop thread itself (an observer's callback): it would wait for itself.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "framework/event_bus.h"
#include "framework/result.h"
#include "framework/time.h"
#include "host/host.h"
#include "host/host_handle.h"

namespace unirun {

class BackgroundHost {
 public:
  BackgroundHost(HostConfig config, HostOptions options = {});
  ~BackgroundHost();  // Kills what still runs, and waits for the end.
  BackgroundHost(const BackgroundHost&) = delete;
  BackgroundHost& operator=(const BackgroundHost&) = delete;

  // The loop that will run, for executors that need it. REQUIRES: not started.
  void run_before_start(const std::function<void(EventLoop&)>& function);

  // Starts the thread and the host on it; see Host::start() for the errors. With `wait_for_trees`
  // it returns when every tree stands, or with Errc::start_failed when one could not start (the
  // host has then ended).
  [[nodiscard]] Status start(bool wait_for_trees = true);

  // Asks for the end; a second call kills. Returns at once.
  void request_stop(std::string cause);

  // Waits for the end. Nothing on timeout.
  [[nodiscard]] std::optional<HostExit> wait(Duration timeout = Duration::max());

  [[nodiscard]] HostHandle handle() const;
  [[nodiscard]] const std::string& socket_path() const;

  // Events for one reading thread. May be opened before start(), so that nothing is missed.
  [[nodiscard]] std::shared_ptr<EventQueue> open_queue(EventKinds kinds, std::size_t capacity,
                                                       std::string name = "queue");

  // Runs `function` on the loop thread and waits for it. False if the host has ended.
  bool run_on_loop(const std::function<void(Host&)>& function);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
