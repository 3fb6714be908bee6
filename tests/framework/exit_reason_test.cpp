#include "framework/exit_reason.h"

#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

namespace unirun {
namespace {

ExitReason full() {
  ExitReason reason = ExitReason::of(ExitKind::exception, "in worker 3");
  reason.exit_code = 1;
  reason.signal = SIGSEGV;
  reason.core_dumped = true;
  reason.exception = ExceptionText{"jobs.NoSuchJob", "no such job",
                                   "Traceback (most recent call last):\n"
                                   "  File \"a.py\", line 1, in <module>\n    run()\n"
                                   "  File \"b.py\", line 7, in take\n    raise\n"};
  reason.stacks = "Thread 0x1:\n  File \"b.py\", line 7";
  reason.peak_rss = std::uint64_t{5} << 30;
  reason.permanent_failure = true;
  return reason;
}

TEST_CASE("every kind of exit has a word, and the word leads back") {
  for (int i = 0; i <= static_cast<int>(ExitKind::stuck); ++i) {
    const auto kind = static_cast<ExitKind>(i);
    CHECK(exit_kind_from(to_string(kind)) == kind);
  }
  CHECK_FALSE(exit_kind_from("crash"));
}

TEST_CASE("only normal and shutdown are clean") {
  for (int i = 0; i <= static_cast<int>(ExitKind::stuck); ++i) {
    const auto kind = static_cast<ExitKind>(i);
    CHECK(ExitReason::of(kind).is_clean() ==
          (kind == ExitKind::normal || kind == ExitKind::shutdown));
  }
}

TEST_CASE("an exit reason survives JSON, full and bare, for every kind") {
  for (int i = 0; i <= static_cast<int>(ExitKind::stuck); ++i) {
    for (ExitReason reason : {ExitReason{}, full()}) {
      reason.kind = static_cast<ExitKind>(i);
      const nlohmann::json json = nlohmann::json::parse(nlohmann::json(reason).dump());
      CHECK(json.get<ExitReason>() == reason);
    }
  }
}

TEST_CASE("a bare exit reason says nothing but its kind") {
  CHECK(nlohmann::json(ExitReason::normal()).dump() == R"({"kind":"normal"})");
}

TEST_CASE("what is no exit reason is refused") {
  CHECK_THROWS(nlohmann::json::parse(R"({"kind":"crash"})").get<ExitReason>());
  CHECK_THROWS(nlohmann::json::parse(R"({})").get<ExitReason>());
  CHECK_THROWS(nlohmann::json::parse(R"({"kind":"signal","signal":"x"})").get<ExitReason>());
}

TEST_CASE("an exit reason reads as people say it") {
  ExitReason code = ExitReason::of(ExitKind::exit_code);
  code.exit_code = 3;
  CHECK(code.describe() == "exit code 3");
  code.permanent_failure = true;
  CHECK(code.describe() == "exit code 3 (not to be restarted)");

  ExitReason signal = ExitReason::of(ExitKind::signal);
  signal.signal = SIGSEGV;
  signal.core_dumped = true;
  CHECK(signal.describe() == "SIGSEGV (core dumped)");
  signal.signal = SIGRTMIN + 1;
  signal.core_dumped = false;
  CHECK(signal.describe() == "signal " + std::to_string(SIGRTMIN + 1));

  ExitReason exception = ExitReason::of(ExitKind::exception);
  exception.exception = ExceptionText{"ValueError", "no such job", ""};
  CHECK(exception.describe() == "ValueError: no such job");
  exception.exception->message.clear();
  CHECK(exception.describe() == "ValueError");

  CHECK(ExitReason::of(ExitKind::liveness_timeout, "no heartbeat for 5s").describe() ==
        "liveness timeout: no heartbeat for 5s");
  CHECK(ExitReason::shutdown().describe() == "shutdown");
}

TEST_CASE("deaths of one cause have one fingerprint, others another") {
  const ExitReason one = full();
  ExitReason same = one;
  same.detail = "in worker 4";
  same.exception->message = "job 17";
  same.peak_rss = 1;
  CHECK(same.fingerprint() == one.fingerprint());
  CHECK(one.fingerprint().find("b.py\", line 7, in take") != std::string::npos);

  ExitReason elsewhere = one;
  elsewhere.exception->traceback += "  File \"c.py\", line 9, in deeper\n";
  CHECK(elsewhere.fingerprint() != one.fingerprint());
  ExitReason other_signal = one;
  other_signal.signal = SIGABRT;
  CHECK(other_signal.fingerprint() != one.fingerprint());
  CHECK(ExitReason::normal().fingerprint() != ExitReason::shutdown().fingerprint());
}

}  // namespace
}  // namespace unirun
