// What a worker process asks its host of: the host's C++ functions.
//
//   "function"   [name]: {async}; unknown_function
//   "functions"  null: their names
//   "run"        [name, args, kwargs]: what the function gives
//
// Thread: any, without the GIL.

#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "executors/python/callbacks/calling_process.h"
#include "executors/python/future.h"
#include "executors/python/processes/message.h"

namespace unirun::python {

// Of a "run": where it is called, and what became of it.
struct FunctionCall {
  enum class Place { caller, loop };

  Place place = Place::caller;  // A thread of the caller's own, or none at all.
  // Has it called for that process. REQUIRES: once; where the place is `caller`, on a thread that
  // may block.
  std::function<Shared<Outcome<Value>>(std::shared_ptr<const CallingProcess>)> start;
};

// What is known at once; nothing: `call` is to be started.
[[nodiscard]] std::optional<Result<Value>> answer_question(Question question, FunctionCall& call);

// What became of it, for another process: an exception itself stays here, and what Python would
// print of it goes.
[[nodiscard]] Result<Value> for_elsewhere(Result<Value> outcome);

}  // namespace unirun::python
