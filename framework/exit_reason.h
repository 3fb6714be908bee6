// ExitReason says why a service or a supervisor ended. Restart decisions look at is_clean() alone
// (OTP: normal, shutdown and {shutdown, _} are clean); everything else is for people and records.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace unirun {

enum class ExitKind : std::uint8_t {
  normal,         // Ended by itself, with success.
  shutdown,       // Ended because it was asked to; also a supervisor that gave up (OTP item 20).
  exit_code,      // A code that is not success.
  signal,         // Ended by a signal that we did not send.
  exception,      // An exception left the service.
  killed,         // Did not answer a stop within its shutdown timeout, or was to be killed at once.
  start_failed,   // Never came to run: exec failed, or its start function said no.
  start_timeout,  // Ran, but was not ready in time.
  liveness_timeout,  // Went silent.
  memory_limit,      // Killed by the kernel for memory.
  stuck,             // A thread that ignores cancellation: abandoned.
};

[[nodiscard]] std::string_view to_string(ExitKind kind);
[[nodiscard]] std::optional<ExitKind> exit_kind_from(std::string_view word);

// An exception as Python knows it, in text: nothing of an interpreter is held.
struct ExceptionText {
  std::string type;  // "ValueError", "package.module.Error"
  std::string message;
  std::string traceback;  // As traceback.format_exception prints it.

  friend bool operator==(const ExceptionText&, const ExceptionText&) = default;
};

struct ExitReason {
  ExitKind kind = ExitKind::normal;
  std::optional<int> exit_code;
  std::optional<int> signal;
  bool core_dumped = false;
  std::string detail;  // One sentence: the failed step, the probe, the child that failed.
  std::optional<ExceptionText> exception;
  std::string stacks;                     // Every thread's stack, as faulthandler wrote it.
  std::optional<std::uint64_t> peak_rss;  // Bytes.
  bool permanent_failure = false;  // By a no-restart exit code: not restarted, whatever its type.

  [[nodiscard]] static ExitReason normal() { return {}; }
  [[nodiscard]] static ExitReason shutdown(std::string detail = {}) {
    ExitReason reason;
    reason.kind = ExitKind::shutdown;
    reason.detail = std::move(detail);
    return reason;
  }
  [[nodiscard]] static ExitReason of(ExitKind kind, std::string detail = {}) {
    ExitReason reason;
    reason.kind = kind;
    reason.detail = std::move(detail);
    return reason;
  }

  [[nodiscard]] bool is_clean() const {
    return kind == ExitKind::normal || kind == ExitKind::shutdown;
  }

  // "exit code 3", "SIGSEGV (core dumped)", "ValueError: no such job", "no heartbeat for 5s".
  [[nodiscard]] std::string describe() const;

  // Equal for deaths of the same cause: kind, code, signal, exception type, and the frame that it
  // died in.
  [[nodiscard]] std::string fingerprint() const;

  friend bool operator==(const ExitReason&, const ExitReason&) = default;
};

// For nlohmann's own conversions; members that say nothing are left out. from_json() throws
// std::exception on what to_json() cannot have written.
void to_json(nlohmann::json& json, const ExitReason& reason);
void from_json(const nlohmann::json& json, ExitReason& reason);

}  // namespace unirun
