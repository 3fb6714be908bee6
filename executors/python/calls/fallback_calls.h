// FallbackCalls runs calls in interpreters, and those whose module does not load there in worker
// processes: the function has not been called yet then, so it runs once.
//
// Thread: any.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "executors/python/calls/call_runner.h"
#include "executors/python/interpreter/execution_mode.h"

namespace unirun::python {

class FallbackCalls final : public CallRunner {
 public:
  using FindProcesses = std::function<Result<CallRunner*>()>;

  // Both outlive the last call.
  FallbackCalls(CallRunner& interpreters, FindProcesses find_processes)
      : interpreters_(interpreters), find_processes_(std::move(find_processes)) {}

  [[nodiscard]] Cancel run(CallSpec call, OnDone on_done) override;

  // Those that a worker process could load and an interpreter could not.
  [[nodiscard]] std::vector<Refusal> refused_modules();

 private:
  struct Attempt;
  void run_in_process(const std::shared_ptr<Attempt>& attempt, const Error& why);
  [[nodiscard]] bool is_refused(const std::string& module);

  CallRunner& interpreters_;
  const FindProcesses find_processes_;
  std::mutex mutex_;  // Guards the next. Nothing is called within.
  std::map<std::string, std::string> refused_;
};

}  // namespace unirun::python
