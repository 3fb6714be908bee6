// ServiceSpec says what a service is and what surrounds it. Values only: host/ builds it from JSON,
// python_bindings/ from keyword arguments, an executor carries it out. Supervisors pass it on
// unread. All instances of a service share one; what tells them apart comes with each Launch.

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/time.h"

namespace unirun {

// A program and its arguments; argv[0] is looked up in the PATH of the service's environment.
struct CommandTarget {
  std::vector<std::string> argv;
};

// "module:attribute" or "path/to/file.py:attribute": a Service subclass, a function or an async
// function.
struct PythonTarget {
  std::string target;
  std::string interpreter;  // Empty: the host's choice.
};

// A C++ service that was registered under this name.
struct NativeTarget {
  std::string name;
};

// How a service is run: on a thread that it may block, or on an event loop that it may not. A
// target that can only block, or only await, is told apart by it.
enum class ServiceStyle : std::uint8_t { blocking, async };

using ServiceTarget = std::variant<CommandTarget, PythonTarget, NativeTarget>;

// How a service shows that it can serve. Its time limit is ChildSpec::start_timeout.
struct NoReadiness {};        // Running is ready.
struct NotifyReadiness {};    // READY=1 on NOTIFY_SOCKET, or context.ready().
struct DescriptorReadiness {  // A newline on this descriptor, as s6 does.
  int descriptor = 3;
};
struct TcpReadiness {  // Someone accepts at this address.
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  Duration interval = std::chrono::milliseconds{50};
};
// A plain HTTP/1.1 GET, judged by the status of its answer.
struct HttpCheck {
  std::string address = "127.0.0.1";  // Numeric, or "localhost".
  std::uint16_t port = 0;
  std::string path = "/";
  std::map<std::string, std::string> headers{};  // Beside Host, User-Agent and Connection.
  unsigned status_from = 200, status_to = 399;
};
struct HttpReadiness {
  HttpCheck check;
  Duration interval = std::chrono::milliseconds{200};
  Duration timeout = std::chrono::seconds{1};
};
struct ExecReadiness {  // This command ends with 0.
  std::vector<std::string> argv;
  Duration interval = std::chrono::milliseconds{200};
  Duration timeout = std::chrono::seconds{5};
};
struct LogReadiness {  // A line of stdout or stderr matches (ECMAScript).
  std::string pattern;
};
using Readiness = std::variant<NoReadiness, NotifyReadiness, DescriptorReadiness, TcpReadiness,
                               HttpReadiness, ExecReadiness, LogReadiness>;

// How a service shows, again and again, that it still lives.
struct NoLiveness {};
struct HeartbeatLiveness {  // context.heartbeat() or WATCHDOG=1 at least once in `timeout`.
  Duration timeout = std::chrono::seconds{10};
};
struct TcpLiveness {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  Duration interval = std::chrono::seconds{10};
  Duration timeout = std::chrono::seconds{1};
  unsigned max_failures = 3;  // In a row.
};
struct HttpLiveness {
  HttpCheck check;
  Duration interval = std::chrono::seconds{10};
  Duration timeout = std::chrono::seconds{1};
  unsigned max_failures = 3;
};
struct ExecLiveness {
  std::vector<std::string> argv;
  Duration interval = std::chrono::seconds{10};
  Duration timeout = std::chrono::seconds{1};
  unsigned max_failures = 3;
};
struct LoopLagLiveness {  // Async services only: never keeps the loop of the host for so long.
  Duration timeout = std::chrono::seconds{5};
};
using Liveness = std::variant<NoLiveness, HeartbeatLiveness, TcpLiveness, HttpLiveness,
                              ExecLiveness, LoopLagLiveness>;

// Where stdout and stderr go. Every line passes the ring; a file is kept where one is named.
struct OutputSpec {
  bool capture = true;                // False: inherit the host's own.
  std::size_t ring_bytes = 64 << 10;  // Of the latest lines, in memory.
  std::string file;  // "{id}", "{instance}" and "{path}" are filled in. Empty: none.
  std::uint64_t max_file_bytes = 10 << 20;
  unsigned max_files = 5;  // The rotated ones, beside the current.
};

// How a Python target comes to its process.
enum class StartMode : std::uint8_t {
  from_template,  // Forked from a warm template process, where one can be had.
  fresh,          // A new interpreter.
};

// When a standby may take over from one that has died.
enum class StandbyAfter : std::uint8_t {
  death,   // It runs no more; the kernel may still be closing its ports and files.
  reaped,  // All that it had is free.
};

struct ResourceLimit {
  std::optional<std::uint64_t> soft;  // Nothing: unlimited.
  std::optional<std::uint64_t> hard;
};

struct ServiceSpec {
  ServiceTarget target;
  std::vector<nlohmann::json> arguments;  // Appended by start_child of a dynamic supervisor.
  nlohmann::json config = nlohmann::json::object();  // What context.config shows.

  std::string cwd;  // Empty: the host's.
  std::map<std::string, std::string>
      env;  // Over the host's; "{id}", "{instance}", "{path}" are filled in.
  std::set<std::string> secret_env;  // Keys of `env` whose values no output may show.
  bool clear_env = false;            // Start from nothing but PATH, HOME, LANG and USER.
  std::string user, group;           // Names or numbers; empty: the host's own.
  std::vector<std::string> groups;   // Supplementary ones.
  std::optional<unsigned> umask;
  std::map<std::string, ResourceLimit> rlimits;  // "nofile", "core", "as", ... as in getrlimit(2).
  std::optional<int> nice;
  bool no_new_privs = false;

  Readiness readiness = NoReadiness{};
  Liveness liveness = NoLiveness{};
  OutputSpec output;
  std::string log_level = "info";  // From which on a Python logger's records reach the host.

  int stop_signal = 15;
  std::set<int> success_exit_codes;  // Beside 0.
  std::set<int> no_restart_exit_codes = {78};

  // Of Python targets in processes.
  StartMode start = StartMode::from_template;
  std::optional<std::vector<std::string>> preload;  // Modules. Nothing: the target's own.
  unsigned standby = 0;  // Workers that are forked, have imported, and wait.
  StandbyAfter standby_after = StandbyAfter::death;
};

}  // namespace unirun
