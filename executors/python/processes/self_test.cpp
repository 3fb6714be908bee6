#include "executors/python/processes/self_test.h"

#include <fmt/format.h>

#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include "executors/python/processes/worker_process.h"
#include "executors/thread/service_thread.h"
#include "framework/clock.h"
#include "framework/event_loop.h"

namespace unirun::python {
namespace {

// What is to be imported may be large.
constexpr Duration test_patience = std::chrono::seconds(120);
// An answer has been given: so long the process has to end by itself.
constexpr Duration end_patience = std::chrono::seconds(2);

Error too_late() {
  return {.code = Errc::timeout,
          .message =
              fmt::format("it had not ended after {} s",
                          std::chrono::duration_cast<std::chrono::seconds>(test_patience).count())};
}

// Thread: one that runs no other loop.
Result<Value> ask(const std::vector<std::string>& command, const Value& configuration,
                  Value modules) {
  const SystemClock clock;
  EventLoop loop(clock);
  Result<Value> answer = too_late();
  CallbackThreads threads;
  auto process = WorkerProcess::start(loop, threads, command, [&loop] { loop.stop(); });
  if (!process) return process.error();
  const auto kill = [&process] { (*process)->signal(SIGKILL); };
  static_cast<void>(loop.start_timer(clock.now() + test_patience, kill));
  (*process)->ask("configure", configuration, {});
  (*process)->ask("try_interpreters", std::move(modules), [&](Result<Value> given) {
    answer = std::move(given);
    // Not from within the channel.
    loop.post([&] {
      (*process)->dismiss({.code = Errc::cancelled, .message = "it has answered"});
      static_cast<void>(loop.start_timer(clock.now() + end_patience, kill));
    });
  });
  loop.run();
  return answer;
}

Result<std::vector<Refusal>> refusals_of(const Value& answer) {
  std::vector<Refusal> refusals;
  const auto* const all = answer.get_if<Array>();
  for (const Value& one : all != nullptr ? *all : Array{}) {
    const auto* const pair = one.get_if<Array>();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      return Error{.code = Errc::conversion, .message = "it answered what cannot be read"};
    refusals.push_back({(*pair)[0].as_string(), (*pair)[1].as_string()});
  }
  return refusals;
}

}  // namespace

Result<std::vector<Refusal>> test_interpreters(const std::vector<std::string>& command,
                                               const Value& configuration,
                                               const std::vector<std::string>& modules) {
  Result<Value> answer = too_late();
  auto thread = ServiceThread::start("py-self-test", [&] {
    answer = ask(command, configuration, Array(modules.begin(), modules.end()));
  });
  if (!thread.ok()) return Error{.code = Errc::unsupported, .message = thread.error().message};
  thread->join();
  if (!answer.ok()) return answer.error();
  return refusals_of(*answer);
}

}  // namespace unirun::python
