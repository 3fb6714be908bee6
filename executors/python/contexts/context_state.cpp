#include "executors/python/contexts/context_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "executors/python/contexts/context_table.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/runtime.h"
#include "executors/python/tasks/worker.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

thread_local ContextState* running = nullptr;

}  // namespace

ContextState::ContextState(ContextTable& table, ContextId id, BindOptions options,
                           std::shared_ptr<PythonWorker> worker)
    : table_(table),
      id_(id),
      options_(std::move(options)),
      worker_(std::move(worker)),
      ended_(new ContextEnd(*this)) {}

ContextState::~ContextState() {
  table_.remove(id_);
  // Still there: its worker never came back, and nobody else may drop them.
  static_cast<void>(names_.release());
}

// ---- Its tasks ----

bool ContextState::enter() {
  std::uint64_t seen = word_.load();
  while ((seen & closed) == 0) {
    if (word_.compare_exchange_weak(seen, seen + 1)) return true;
  }
  return false;
}

void ContextState::leave() {
  if (word_.fetch_sub(1) == (closed | 1)) start_end();
}

bool ContextState::push(TaskState* task) {
  if (!enter()) return false;
  task->bound_to = shared_from_this();
  if (worker_->push(task)) return true;
  task->bound_to = nullptr;
  leave();
  return false;
}

ContextState* ContextState::current() { return running; }

void ContextState::set_current(ContextState* context) { running = context; }

ContextState::Turn::Turn(ContextState* context)
    : context_(context), outer_(std::exchange(running, context)) {
  if (context_ != nullptr) ++context_->on_stack_;
}

ContextState::Turn::~Turn() {
  running = outer_;
  if (context_ == nullptr) return;
  --context_->on_stack_;
  if (!keeps_) context_->leave();
}

// ---- Its end ----

void ContextState::close() {
  if (is_lost()) return;
  if (word_.fetch_or(closed) == 0) return start_end();
  end_coroutines();
}

// One that begins later is refused.
void ContextState::end_coroutines() {
  for (Shared<TaskState>& task : worker_->coroutines()) {
    if (task->bound_to.get() == this) Runtime::get().end_coroutine(std::move(task));
  }
}

// Here, where this is its worker; else there.
void ContextState::start_end() {
  if (PythonWorker::current() == worker_.get() && PythonThread::attached_state() != nullptr)
    return end();
  const auto ending = [self = shared_from_this()] { self->end(); };
  Shared<TaskState> task(new FunctionTask<void, decltype(ending)>(ending));
  // A worker that takes nothing more ends it by itself when it ends, if it ever does.
  if (worker_->push(task.get())) static_cast<void>(task.release());
}

void ContextState::end() {
  word_.fetch_or(closed);
  if (std::exchange(has_ended_, true)) return;
  const auto self = shared_from_this();
  drop_names();
  worker_->move_out(*this);
  if (!ended_->claim(Ending::executed)) return;
  if (stuck_ == 0) return ended_->settle({});
  ended_->fail({.code = Errc::stuck,
                .message = fmt::format("context {}: {} of its coroutines went on after they were "
                                       "cancelled, and were given up: let them end when "
                                       "asyncio.CancelledError is raised in them",
                                       name(), stuck_)});
}

void ContextState::lose() {
  word_.fetch_or(closed);
  if (!ended_->claim(Ending::failed)) return;
  lost_.store(true);
  ended_->fail(loss());
}

Error ContextState::loss() const {
  return {.code = Errc::worker_lost,
          .message = fmt::format("context {}: its worker runs code that does not end, and was "
                                 "given up: bind() gives another",
                                 name())};
}

Result<void> ContextState::wait_until_ended() {
  if (PythonWorker::current() == worker_.get() && on_stack_ > 0) return {};
  if (!wait_until_settled(*ended_, Instant::max())) return {};  // It waits for us.
  const Error* const error = ended_->error();
  if (error != nullptr) return *error;
  return {};
}

// ---- Its names ----

Result<void> ContextState::open() {
  worker_->move_in(shared_from_this());
  interpreter_id_ = PyInterpreterState_GetID(PyInterpreterState_Get());
  thread_id_ = PyThread_get_thread_native_id();
  return make_names();
}

Result<void> ContextState::reset() {
  if (options_.namespace_ == Namespace::main) {
    return Error{.code = Errc::unsupported,
                 .message = fmt::format("context {} uses the names of __main__, which others use "
                                        "too: only one with Namespace::fresh can be reset",
                                        name())};
  }
  drop_names();
  return make_names();
}

Result<void> ContextState::make_names() {
  if (options_.namespace_ == Namespace::main) {
    PyObject* const main = PyImport_AddModule("__main__");
    if (main == nullptr) return error_of_exception();
    names_ = Reference::borrow(PyModule_GetDict(main));
  } else {
    names_ = Reference::steal(
        Py_BuildValue("{sOss}", "__builtins__", PyEval_GetBuiltins(), "__name__", "__main__"));
    if (!names_) return error_of_exception();
  }
  if (options_.preload.empty()) return {};
  auto loaded = exec(options_.preload);
  if (loaded.ok()) return {};
  return error_in(fmt::format("the preload of context {}", name()), loaded.error());
}

// The last first, as in C++: what an object needs when it dies was mostly there before it. As
// functions hold the dict, it has to be emptied, not let go of.
void ContextState::drop_names() {
  const Reference names = std::move(names_);
  if (!names || options_.namespace_ == Namespace::main) return;
  const Reference keys = Reference::steal(PyDict_Keys(names.get()));
  for (Py_ssize_t at = keys ? PyList_GET_SIZE(keys.get()) : 0; at-- > 0;) {
    if (PyDict_DelItem(names.get(), PyList_GET_ITEM(keys.get(), at)) != 0) PyErr_Clear();
  }
  PyErr_Clear();
  PyDict_Clear(names.get());
}

Result<Reference> ContextState::run(const std::string& code, const char* mode, PyObject* locals) {
  auto text = to_python(Value(code));
  if (!text.ok()) return error_in("the code", text.error());
  const Reference builtins = Reference::steal(PyImport_ImportModule("builtins"));
  if (!builtins) return error_of_exception();
  const std::string file = fmt::format("<{}>", name());
  const Reference compiled = Reference::steal(PyObject_CallMethod(
      builtins.get(), "compile", "OssiO", text->get(), file.c_str(), mode, 0, Py_True));
  if (!compiled) return error_of_exception();
  const Reference names = Reference::borrow(names_.get());  // reset() within is another's then.
  Reference value = Reference::steal(PyEval_EvalCode(compiled.get(), names.get(), locals));
  if (!value) return error_of_call();
  return value;
}

Result<void> ContextState::exec(const std::string& code) {
  auto done = run(code, "exec", names_.get());
  if (!done.ok()) return done.error();
  return {};
}

Result<Value> ContextState::eval(const std::string& code, const Object& locals) {
  auto further = to_python(Value(locals), exchange_options());
  if (!further.ok()) return error_in("locals", further.error());
  const std::size_t begin = std::min(code.find_first_not_of(" \t"), code.size());
  auto value = run(code.substr(begin), "eval", locals.empty() ? names_.get() : further->get());
  if (!value.ok()) return value.error();
  return to_value(value->get(), exchange_options());
}

}  // namespace unirun::python
