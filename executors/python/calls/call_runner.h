// CallRunner is where calls run beside one another: worker processes, interpreters, threads.
//
// Thread: any.

#pragma once

#include <functional>

#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"

namespace unirun::python {

class CallRunner {
 public:
  using OnDone = std::function<void(Result<Value>)>;
  using Cancel = std::function<void()>;

  CallRunner() = default;
  CallRunner(const CallRunner&) = delete;
  CallRunner& operator=(const CallRunner&) = delete;
  virtual ~CallRunner() = default;

  // Calls `on_done` once, on any thread, perhaps at once. What it gives has the call not begin, or
  // its code interrupted; `on_done` still comes.
  [[nodiscard]] virtual Cancel run(CallSpec call, OnDone on_done) = 0;
};

}  // namespace unirun::python
