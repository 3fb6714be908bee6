// Host: the process that keeps trees alive. It puts the floors together: events, executors,
// supervisors, the journal and the control socket, on one loop that a door runs (main.cpp on its
// main thread, BackgroundHost on a thread of its own).
//
// start() either holds or leaves nothing behind. After it, the host ends in one of three ways:
// request_stop(), every tree ended by itself, or a tree could not start. Its end is told once, by
// on_ended, when no service runs any more, the journal is written and the socket is gone.
//
// Thread: the loop's, except handle() and what it returns.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/random.h"
#include "framework/result.h"
#include "host/host_handle.h"

namespace unirun {

struct HostConfig;  // host/config/host_config.h
class Executor;
class OutputStore;
class ServiceFactory;

// What `unirun up` ends with (design.md section 6).
enum class HostExit : int {
  done = 0,                     // Stopped as asked, or every tree ended cleanly.
  gave_up = 1,                  // A tree ended because its restarts were spent.
  required_service_failed = 3,  // A tree could not start.
};

struct HostOptions {
  std::optional<std::uint64_t> seed{};  // Of backoff jitter; nothing: from the system, and logged.
  bool handle_signals = false;          // TERM, INT, HUP, USR1, USR2: for the native door only.
  bool control = true;                  // Open the control socket.
  bool journal = true;                  // Keep events in a file.
  bool sole_parent = false;             // Nothing but this host starts processes in this process.
  bool owns_process = false;            // This process is the host, and nothing else.
  // Makes the Python services that run inside the host; outlives it. Null: there are none, and a
  // configuration was checked without LoadOptions::python_in_host.
  ServiceFactory* python_services = nullptr;
  // Takes the place of the process executor; for tests. Outlives the host.
  Executor* executor = nullptr;
};

class Host {
 public:
  // REQUIRES: `loop` outlives the host; `config` passed check_config().
  Host(HostConfig config, EventLoop& loop, HostOptions options = {});
  ~Host();  // REQUIRES: never started, start() failed, or on_ended was called.
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Takes the lock, the socket and the journal, clears what a killed host left, and begins to start
  // the trees; returns before their services are ready. On an error nothing has been started and
  // nobody listens: a second host on the same socket ("... already runs as pid 4711"), a directory
  // without rights, a socket path that is too long, a spec that is wrong. Call once.
  [[nodiscard]] Status start();

  // The first call stops everything in order, the second kills what is left at once. `cause` is for
  // the record: "SIGTERM", "unirun shutdown".
  void request_stop(std::string cause);

  // Called once, when every tree has been tried: fine, they stand; or what could not start, and the
  // host is about to end. At once if that has been so already.
  void on_started(std::function<void(const Status&)> callback);

  // Called once, last of all. The host may be destroyed from a later turn of the loop.
  void on_ended(std::function<void(HostExit)> callback);
  [[nodiscard]] std::optional<HostExit> ended() const;

  // Threads of services that could not be ended, and run on: the program must leave by _exit(),
  // for its static destructors would pull away what they stand on. Thread: any.
  [[nodiscard]] static std::size_t abandoned_threads();

  [[nodiscard]] EventBus& events();
  [[nodiscard]] OutputStore& output();
  [[nodiscard]] const HostConfig& config() const;
  [[nodiscard]] const std::string& socket_path() const;  // Empty without a control socket.

  // The way in for other threads: commands and queries. Valid beyond the host's end, when every
  // call answers Errc::unreachable_host.
  [[nodiscard]] HostHandle handle();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
