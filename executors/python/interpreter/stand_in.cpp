#include "executors/python/interpreter/stand_in.h"

#include "executors/python/python.h"
// Python.h first.

#include <utility>

#include "executors/python/callbacks/native_function.h"
#include "executors/python/calls/call_depth.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/thread/service_thread.h"

namespace unirun::python {
namespace {

// The context that one thread has entered moves to the other, as if it were the same thread.
void swap_contexts(PyThreadState* one, PyThreadState* other) {
  std::swap(one->context, other->context);
  ++one->context_ver;
  ++other->context_ver;
}

// What belongs to the chain of calls and not to the thread.
struct Chain {
  std::uint32_t depth = CallDepth::current();
  NativeFrame* frame = NativeFrame::innermost();
  ContextState* context = ContextState::current();
};

void stand_in(PyThreadState* outer, const Chain& chain, const std::function<void()>& work) {
  const CallDepth at(chain.depth);
  NativeFrame::set_innermost(chain.frame);
  ContextState::set_current(chain.context);
  PyThreadState* const state = PyThreadState_New(outer->interp);
  MainThread::take_gil(state);
  swap_contexts(outer, state);
  work();
  Forks::end_child();
  swap_contexts(outer, state);
  PyThreadState_Clear(state);
  PyThreadState_DeleteCurrent();
}

}  // namespace

unirun::Status run_on_stand_in(const std::function<void()>& work, std::size_t stack_bytes) {
  const auto stack = ThreadStack::make(stack_bytes);
  if (!stack.ok()) return stack.error();
  PyThreadState* const outer = PyEval_SaveThread();
  auto thread = ServiceThread::start(
      "py-stand-in", [outer, chain = Chain{}, &work] { stand_in(outer, chain, work); }, *stack);
  if (thread.ok()) thread->join();
  MainThread::take_gil(outer);
  if (!thread.ok()) return thread.error();
  return {};
}

}  // namespace unirun::python
