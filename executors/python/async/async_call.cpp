#include "executors/python/async/async_call.h"

#include <fmt/format.h>

#include "executors/python/async/coroutine_names.h"
#include "executors/python/callbacks/caller_variables.h"
#include "executors/python/calls/invocation.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/runtime.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

// What the code object alone does not say: a partial of one, an object whose __call__ is one, and
// what was marked to be one.
bool is_said_to_be_coroutine_function(PyObject* function) {
  const Reference inspect = Reference::steal(PyImport_ImportModule("inspect"));
  if (!inspect) return PyErr_Clear(), false;
  const auto is_one = [&](PyObject* object) {
    const Reference answer =
        Reference::steal(PyObject_CallMethod(inspect.get(), "iscoroutinefunction", "O", object));
    if (!answer) PyErr_Clear();
    return answer.get() == Py_True;
  };
  if (is_one(function)) return true;
  if (PyCFunction_Check(function) || PyFunction_Check(function) || PyType_Check(function))
    return false;
  const Reference call = Reference::steal(PyObject_GetAttrString(function, "__call__"));
  if (!call) return PyErr_Clear(), false;
  return is_one(call.get());
}

bool is_coroutine_function(PyObject* function) {
  PyObject* const plain = PyMethod_Check(function) ? PyMethod_GET_FUNCTION(function) : function;
  if (PyFunction_Check(plain)) {
    const auto* const code = reinterpret_cast<PyCodeObject*>(PyFunction_GET_CODE(plain));
    if ((code->co_flags & CO_COROUTINE) != 0) return true;
  }
  return is_said_to_be_coroutine_function(function);
}

Result<Value> value_of(PyObject* returned) {
  auto value = to_value(returned, exchange_options());
  if (value.ok()) return value;
  Error error = value.error();
  error.message = "what it returned: " + error.message;
  return error;
}

}  // namespace

AsyncCall::AsyncCall(CallSpec call, Ref context)
    : CoroutineTask(static_cast<TaskState&>(*this)),
      call_(std::move(call)),
      context_(std::move(context)) {}

Ref AsyncCall::context_of_caller() {
  if (PythonThread::attached_state() == nullptr) return CallerVariables::of_function();
  return Ref::steal(PyContext_CopyCurrent());
}

std::string AsyncCall::name() const {
  return fmt::format("async_call() of {}.{}", call_.module, call_.function);
}

void AsyncCall::drop_arguments() {
  call_.args = {};
  call_.kwargs = {};
}

void AsyncCall::cancel_with(const CancellationToken& token) {
  cancellation_ = token.on_cancel([this] { static_cast<void>(cancel_task(*this)); });
}

bool AsyncCall::begins_on_worker() const noexcept {
  return !CoroutineNames::contains(call_.module, call_.function);
}

bool AsyncCall::belongs_on_worker() noexcept {
  if (is_plain_) return true;
  const auto found = find_function(call_);
  if (found.ok() && !is_coroutine_function(found->get())) {
    function_ = Ref::borrow(found->get());
    return true;
  }
  const bool is_bound = bound_to != nullptr;
  // Not every module can be imported in every interpreter: the loops' is the main one.
  if (!found.ok() && (is_bound || !Runtime::get().has_own_interpreters())) {
    function_ = found.error();
    return true;
  }
  if (is_bound) {
    function_ = Ref::borrow(found->get());
    return false;
  }
  if (found.ok()) CoroutineNames::remember(call_.module, call_.function);
  add_owner();
  Runtime::get().pass_to_loops(Shared<TaskState>(this));
  return false;
}

bool AsyncCall::belongs_on_loop(Shared<TaskState>& task) noexcept {
  const auto found = find_function(call_);
  if (!found.ok()) {
    function_ = found.error();
    return true;
  }
  function_ = Ref::borrow(found->get());
  if (is_coroutine_function(found->get())) return true;
  CoroutineNames::forget(call_.module, call_.function);
  is_plain_ = true;
  Runtime::get().pass_to_workers(std::move(task));
  return false;
}

Result<Reference> AsyncCall::make() noexcept {
  if (!function_.ok()) return function_.error();
  const Ref function = std::exchange(*function_, {});
  auto made = call_object(function.get(), call_.args, call_.kwargs);
  drop_arguments();
  return made;
}

Reference AsyncCall::context() noexcept {
  PyObject* const here = context_.get();  // Another interpreter's is none.
  Reference copy = here != nullptr ? Reference::steal(PyContext_Copy(here)) : Reference();
  PyErr_Clear();
  return copy;
}

void AsyncCall::settle_as(Ending ending, Result<Value> outcome) noexcept {
  if (claim(ending)) settle(std::move(outcome));
}

void AsyncCall::end(PyObject* value, CoroutineEnd how) noexcept {
  context_ = {};
  if (how == CoroutineEnd::cancelled) {
    return settle_as(Ending::cancelled,
                     Error{.code = Errc::cancelled, .message = "its coroutine was cancelled"});
  }
  Result<Value> outcome = value != nullptr ? value_of(value) : error_of_exception();
  const Ending ending = outcome.ok() ? Ending::executed : Ending::failed;
  settle_as(ending, std::move(outcome));
}

void AsyncCall::run() noexcept {
  if (!function_.ok()) return settle_as(Ending::failed, function_.error());
  Ref function = std::exchange(*function_, {});
  if (function.get() == nullptr) {  // The loop that has looked it up is another interpreter's.
    const auto found = find_function(call_);
    if (!found.ok()) return settle_as(Ending::failed, found.error());
    function = Ref::borrow(found->get());
  }
  const Reference own = context();
  const bool has_entered = own && PyContext_Enter(own.get()) == 0;
  const auto returned = call_object(function.get(), call_.args, call_.kwargs);
  if (has_entered) PyContext_Exit(own.get());
  drop_arguments();
  context_ = {};
  Result<Value> outcome = returned.ok() ? value_of(returned->get()) : returned.error();
  const Ending ending = outcome.ok() ? Ending::executed : Ending::failed;
  settle_as(ending, std::move(outcome));
}

}  // namespace unirun::python
