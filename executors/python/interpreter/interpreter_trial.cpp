#include "executors/python/interpreter/interpreter_trial.h"

#include "executors/python/python.h"
// Python.h first.

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/values/exception_text.h"
#include "executors/thread/service_thread.h"

namespace unirun::python {
namespace {

constexpr int rounds = 2;
constexpr std::size_t stack_bytes = std::size_t{8} << 20;

// One interpreter's part.
struct Attempt {
  std::vector<Refusal> refusals{};
  std::optional<Error> error{};
};

void import_in_one(const OwnInterpreterOptions& options, const std::vector<std::string>& modules,
                   Attempt& attempt) {
  auto interpreter = OwnInterpreter::start(options);
  if (!interpreter.ok()) {
    attempt.error = interpreter.error();
    return;
  }
  {
    const GILGuard guard;
    for (const std::string& module : modules) {
      if (!guard.attached()) break;
      if (Reference::steal(PyImport_ImportModule(module.c_str()))) continue;
      attempt.refusals.push_back({module, error_of_exception().message});
    }
  }
  (*interpreter)->end();
}

}  // namespace

Result<std::vector<Refusal>> try_in_interpreters(const OwnInterpreterOptions& options,
                                                 const std::vector<std::string>& modules) {
  std::vector<Refusal> refusals;
  for (int round = 0; round < rounds; ++round) {
    std::array<Attempt, 2> attempts;
    std::vector<ServiceThread> threads;
    for (Attempt& attempt : attempts) {
      auto thread = ServiceThread::start(
          "py-trial", [&] { import_in_one(options, modules, attempt); }, stack_bytes);
      if (thread.ok()) {
        threads.push_back(std::move(*thread));
      } else {
        attempt.error = Error{.code = Errc::unsupported, .message = thread.error().message};
      }
    }
    for (ServiceThread& thread : threads) thread.join();
    for (Attempt& attempt : attempts) {
      if (attempt.error) return *std::move(attempt.error);
      for (Refusal& refusal : attempt.refusals) {
        if (std::ranges::find(refusals, refusal.module, &Refusal::module) == refusals.end())
          refusals.push_back(std::move(refusal));
      }
    }
  }
  return refusals;
}

}  // namespace unirun::python
