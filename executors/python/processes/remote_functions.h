// RemoteFunctions is, in a worker process, the C++ functions of its host: what is called here runs
// there. Each thread that calls and waits has a line of its own, and needs nobody else; who awaits
// goes by the process's channel.
//
// Thread: any.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "executors/python/callbacks/function_table.h"
#include "executors/python/processes/message_channel.h"

namespace unirun::python {

class RemoteFunctions final : public FunctionSource {
 public:
  // Asks the host, and calls back with the answer on whatever thread. Thread: any.
  using Ask = std::function<void(Question, MessageChannel::OnAnswer)>;

  explicit RemoteFunctions(Ask ask) : ask_(std::move(ask)) {}

  // Errors: unknown_function; unsupported, in a fork; worker_lost, the host is gone.
  Result<std::shared_ptr<NativeFunction>> find(std::string_view name) override;
  Result<std::shared_ptr<NativeFunction>> recall(std::string_view name) override;
  Result<std::vector<std::string>> names() override;

  // With the GIL, which is let go of meanwhile. Errors: of the function; worker_lost, the host is
  // gone; conversion; interrupted, with the task that runs here.
  [[nodiscard]] Result<Value> run(const std::string& name, Args args, Kwargs kwargs);
  // The same, later. With the GIL or without.
  [[nodiscard]] Shared<Outcome<Value>> run_later(const std::string& name, Args args, Kwargs kwargs);

  // In a child that was forked off this process: whatever is asked for there is refused.
  static void after_fork();

 private:
  void forget_if_unknown(std::string_view name, const Result<Value>& outcome);

  const Ask ask_;
  std::mutex mutex_;  // Guards the next. Nobody asks within.
  std::map<std::string, std::shared_ptr<NativeFunction>, std::less<>> known_;
};

}  // namespace unirun::python
