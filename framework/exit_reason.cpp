#include "framework/exit_reason.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "framework/require.h"

namespace unirun {
namespace {

constexpr auto last_kind = ExitKind::stuck;

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

// The innermost frame of a Python traceback: its last line of the form `File "x.py", line 3, in f`.
std::string_view last_frame(std::string_view traceback) {
  const std::size_t begin = traceback.rfind("  File \"");
  if (begin == std::string_view::npos) return {};
  const std::string_view rest = traceback.substr(begin + 2);
  return rest.substr(0, rest.find('\n'));
}

// Where the thread that died was, as faulthandler writes it: the innermost frame comes first there.
std::string_view first_frame_of_current(std::string_view stacks) {
  const std::size_t thread = stacks.find("Current thread");
  if (thread == std::string_view::npos) return {};
  const std::size_t begin = stacks.find("  File \"", thread);
  if (begin == std::string_view::npos) return {};
  const std::string_view rest = stacks.substr(begin + 2);
  return rest.substr(0, rest.find('\n'));
}

std::string describe_exception(const ExceptionText& exception) {
  return exception.message.empty() ? exception.type
                                   : fmt::format("{}: {}", exception.type, exception.message);
}

std::string describe_cause(const ExitReason& reason) {
  switch (reason.kind) {
    case ExitKind::exit_code: return fmt::format("exit code {}", reason.exit_code.value_or(1));
    case ExitKind::signal:
      return signal_name(reason.signal.value_or(0)) + (reason.core_dumped ? " (core dumped)" : "");
    case ExitKind::exception:
      return reason.exception ? describe_exception(*reason.exception) : "exception";
    case ExitKind::normal: return "normal";
    case ExitKind::shutdown: return "shutdown";
    case ExitKind::killed: return "killed";
    case ExitKind::start_failed:
      return reason.exception ? "start failed: " + describe_exception(*reason.exception)
                              : "start failed";
    case ExitKind::start_timeout: return "start timeout";
    case ExitKind::liveness_timeout: return "liveness timeout";
    case ExitKind::memory_limit: return "memory limit";
    case ExitKind::stuck: return "stuck";
  }
  unreachable();
}

}  // namespace

std::string_view to_string(ExitKind kind) {
  switch (kind) {
    case ExitKind::normal: return "normal";
    case ExitKind::shutdown: return "shutdown";
    case ExitKind::exit_code: return "exit_code";
    case ExitKind::signal: return "signal";
    case ExitKind::exception: return "exception";
    case ExitKind::killed: return "killed";
    case ExitKind::start_failed: return "start_failed";
    case ExitKind::start_timeout: return "start_timeout";
    case ExitKind::liveness_timeout: return "liveness_timeout";
    case ExitKind::memory_limit: return "memory_limit";
    case ExitKind::stuck: return "stuck";
  }
  unreachable();
}

std::optional<ExitKind> exit_kind_from(std::string_view word) {
  for (int i = 0; i <= static_cast<int>(last_kind); ++i) {
    const auto kind = static_cast<ExitKind>(i);
    if (to_string(kind) == word) return kind;
  }
  return std::nullopt;
}

std::string ExitReason::describe() const {
  std::string text = describe_cause(*this);
  if (!detail.empty()) text += ": " + detail;
  if (permanent_failure) text += " (not to be restarted)";
  return text;
}

std::string ExitReason::fingerprint() const {
  std::string text(to_string(kind));
  if (exit_code) text += fmt::format(" code={}", *exit_code);
  if (signal) text += fmt::format(" signal={}", *signal);
  if (exception) {
    text += fmt::format(" exception={} at={}", exception->type, last_frame(exception->traceback));
  } else if (const std::string_view frame = first_frame_of_current(stacks); !frame.empty()) {
    text += fmt::format(" at={}", frame);
  }
  return text;
}

void to_json(nlohmann::json& json, const ExitReason& reason) {
  json = {{"kind", to_string(reason.kind)}};
  if (reason.exit_code) json["exit_code"] = *reason.exit_code;
  if (reason.signal) json["signal"] = *reason.signal;
  if (reason.core_dumped) json["core_dumped"] = true;
  if (!reason.detail.empty()) json["detail"] = reason.detail;
  if (reason.exception) {
    json["exception"] = {{"type", reason.exception->type},
                         {"message", reason.exception->message},
                         {"traceback", reason.exception->traceback}};
  }
  if (!reason.stacks.empty()) json["stacks"] = reason.stacks;
  if (reason.peak_rss) json["peak_rss"] = *reason.peak_rss;
  if (reason.permanent_failure) json["permanent_failure"] = true;
}

void from_json(const nlohmann::json& json, ExitReason& reason) {
  const auto& word = json.at("kind").get_ref<const std::string&>();
  const std::optional<ExitKind> kind = exit_kind_from(word);
  if (!kind) throw std::invalid_argument(fmt::format("/kind: \"{}\" is no kind of exit", word));
  reason = ExitReason::of(*kind, json.value("detail", ""));
  if (json.contains("exit_code")) reason.exit_code = json["exit_code"].get<int>();
  if (json.contains("signal")) reason.signal = json["signal"].get<int>();
  reason.core_dumped = json.value("core_dumped", false);
  if (json.contains("exception")) {
    const nlohmann::json& exception = json["exception"];
    reason.exception = ExceptionText{exception.at("type"), exception.value("message", ""),
                                     exception.value("traceback", "")};
  }
  reason.stacks = json.value("stacks", "");
  if (json.contains("peak_rss")) reason.peak_rss = json["peak_rss"].get<std::uint64_t>();
  reason.permanent_failure = json.value("permanent_failure", false);
}

}  // namespace unirun
