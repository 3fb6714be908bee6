#include "executors/python/async/asyncio.h"

#include <array>
#include <cmath>
#include <initializer_list>

#include "executors/python/interpreter/forks.h"
#include "executors/python/interpreter/interruption.h"
#include "executors/python/values/exception.h"
#include "framework/clock.h"

namespace unirun::python {
namespace {

constexpr const char* link_name = "unirun.Asyncio";

// What a loop runs last.
constexpr const char* last_words = R"(
async def end():
    me = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not me]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
)";

Reference attribute(const Reference& of, const char* name) {
  return of ? Reference::steal(PyObject_GetAttrString(of.get(), name)) : Reference();
}

Reference call(const Reference& function) {
  return function ? Reference::steal(PyObject_CallNoArgs(function.get())) : Reference();
}

Reference tuple_of(std::initializer_list<const char*> words) {
  Reference tuple = Reference::steal(PyTuple_New(static_cast<Py_ssize_t>(words.size())));
  Py_ssize_t at = 0;
  for (const char* const word : words) {
    PyObject* const name = PyUnicode_InternFromString(word);
    if (!tuple || name == nullptr) return {};
    PyTuple_SET_ITEM(tuple.get(), at++, name);
  }
  return tuple;
}

// When select(timeout) is to return at the latest; the epoch: at once.
Instant end_of_wait(PyObject* timeout) {
  if (timeout == nullptr || timeout == Py_None) return Instant::max();
  const double seconds = PyFloat_AsDouble(timeout);
  if (!(seconds > 0)) return Instant{};
  constexpr double day = 24 * 3600;  // asyncio's own bound.
  return SystemClock().now() +
         Duration(static_cast<std::int64_t>(std::ceil(std::min(seconds, day) * 1e9)));
}

}  // namespace

// What Python's objects hold of a loop, which may live longer than it.
struct Asyncio::Link {
  Asyncio* loop;
};

Asyncio* Asyncio::of(PyObject* self) {
  auto* const link = static_cast<Link*>(PyCapsule_GetPointer(self, link_name));
  if (link->loop == nullptr) PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
  return link->loop;
}

// ---- Its life ----

bool Asyncio::open(Client& client) {
  client_ = &client;
  asyncio_ = Reference::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio_) return false;
  const Reference selectors = Reference::steal(PyImport_ImportModule("selectors"));
  selector_ = call(attribute(selectors, "DefaultSelector"));
  if (!selector_) return false;  // A look at an attribute may clear the exception.
  const Reference loop_class = attribute(asyncio_, "SelectorEventLoop");
  if (!loop_class || !find_names()) return false;
  loop_ = Reference::steal(PyObject_CallOneArg(loop_class.get(), selector_.get()));
  if (loop_ && hook_in()) return true;
  loop_ = {};
  return false;
}

bool Asyncio::find_names() {
  task_class_ = attribute(asyncio_, "Task");
  cancelled_error_ = attribute(asyncio_, "CancelledError");
  qualname_ = Reference::steal(PyUnicode_InternFromString("__qualname__"));
  plain_names_ = tuple_of({"loop", "name"});
  context_names_ = tuple_of({"loop", "name", "context"});
  const Reference descriptor = call(attribute(selector_, "fileno"));
  if (!task_class_ || !cancelled_error_ || !qualname_ || !plain_names_ || !context_names_ ||
      !descriptor)
    return false;
  descriptor_ = static_cast<int>(PyLong_AsLong(descriptor.get()));
  return descriptor_ >= 0;
}

// An attribute of the instance goes before the method of its class.
bool Asyncio::hook_in() {
  static std::array<PyMethodDef, 3> hooks{{
      {"select", method(on_select), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"call_soon", method(on_call_soon), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"call_at", method(on_call_at), METH_FASTCALL | METH_KEYWORDS, nullptr},
  }};
  link_ = new Link{this};
  const Reference capsule = Reference::steal(PyCapsule_New(link_, link_name, [](PyObject* dropped) {
    delete static_cast<Link*>(PyCapsule_GetPointer(dropped, link_name));
  }));
  if (!capsule) {
    delete std::exchange(link_, nullptr);
    return false;
  }
  const auto replace = [&](const Reference& of, PyMethodDef& hook, Reference& original) {
    original = attribute(of, hook.ml_name);
    const Reference function = Reference::steal(PyCFunction_New(&hook, capsule.get()));
    return original && function &&
           PyObject_SetAttrString(of.get(), hook.ml_name, function.get()) == 0;
  };
  const bool done = replace(selector_, hooks[0], select_) && replace(loop_, hooks[1], call_soon_) &&
                    replace(loop_, hooks[2], call_at_);
  // Or the capsule would be gone, and the link with it, before this.
  if (!done) link_ = nullptr;
  return done;
}

void Asyncio::run() {
  is_stopped_ = false;
  while (!is_stopped_) {
    if (Reference::steal(PyObject_CallMethod(loop_.get(), "run_forever", nullptr))) continue;
    // SystemExit and KeyboardInterrupt of a callback, which asyncio lets through, end nothing.
    report("a callback has raised");
  }
}

void Asyncio::stop() {
  is_stopped_ = true;
  if (!Reference::steal(PyObject_CallMethod(loop_.get(), "stop", nullptr))) PyErr_Clear();
}

void Asyncio::report(const char* what) {
  const Reference exception = take_exception();
  const Reference told = Reference::steal(
      PyObject_CallMethod(loop_.get(), "call_exception_handler", "{s:s,s:O}", "message", what,
                          "exception", exception ? exception.get() : Py_None));
  if (!told) PyErr_Clear();
}

// One can only where asyncio is loaded.
bool Asyncio::runs_here() {
  const Reference name = Reference::steal(PyUnicode_FromString("asyncio"));
  const Reference asyncio = name ? Reference::steal(PyImport_GetModule(name.get())) : Reference();
  const Reference loop = call(attribute(asyncio, "_get_running_loop"));
  if (!loop) PyErr_Clear();
  return loop && loop.get() != Py_None;
}

Reference Asyncio::create_future() {
  return Reference::steal(PyObject_CallMethod(loop_.get(), "create_future", nullptr));
}

void Asyncio::settle(PyObject* future) {
  if (!is_done(future)) Reference::steal(PyObject_CallMethod(future, "set_result", "O", Py_None));
  PyErr_Clear();
}

bool Asyncio::is_done(PyObject* future) {
  const Reference answer = Reference::steal(PyObject_CallMethod(future, "done", nullptr));
  if (!answer) PyErr_Clear();
  return answer.get() != Py_False;
}

Reference Asyncio::begin_end() {
  const Reference names = Reference::steal(
      Py_BuildValue("{s:O,s:O}", "__builtins__", PyEval_GetBuiltins(), "asyncio", asyncio_.get()));
  if (!names ||
      !Reference::steal(PyRun_String(last_words, Py_file_input, names.get(), names.get())))
    return {};
  const Reference end = call(Reference::borrow(PyDict_GetItemString(names.get(), "end")));
  if (!end) return {};
  return Reference::steal(PyObject_CallMethod(loop_.get(), "create_task", "O", end.get()));
}

void Asyncio::shut() {
  if (!Reference::steal(PyObject_CallMethod(loop_.get(), "close", nullptr))) PyErr_Clear();
}

void Asyncio::close() {
  is_stopped_ = false;
  const Reference end = begin_end();
  if (!end ||
      !Reference::steal(PyObject_CallMethod(loop_.get(), "run_until_complete", "O", end.get())))
    PyErr_Clear();  // Its owner has given up waiting for what is left.
  shut();
}

void Asyncio::drop() {
  if (link_ != nullptr) std::exchange(link_, nullptr)->loop = nullptr;
  for (Reference* const held :
       {&asyncio_, &selector_, &loop_, &task_class_, &cancelled_error_, &qualname_, &plain_names_,
        &context_names_, &select_, &call_soon_, &call_at_, &first_step_, &first_context_})
    *held = {};
}

// ---- Hooks ----

PyObject* Asyncio::on_select(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                             PyObject* /*names*/) {
  Asyncio* const loop = of(self);
  return loop != nullptr ? loop->select(size > 0 ? arguments[0] : nullptr) : nullptr;
}

PyObject* Asyncio::on_call_soon(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                                PyObject* names) {
  Asyncio* const loop = of(self);
  if (loop == nullptr) return nullptr;
  if (loop->captures_ && loop->capture(arguments, size, names)) Py_RETURN_NONE;
  loop->wants_turn_ = true;
  return PyObject_Vectorcall(loop->call_soon_.get(), arguments, static_cast<std::size_t>(size),
                             names);
}

PyObject* Asyncio::on_call_at(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                              PyObject* names) {
  Asyncio* const loop = of(self);
  if (loop == nullptr) return nullptr;
  loop->wants_turn_ = true;
  return PyObject_Vectorcall(loop->call_at_.get(), arguments, static_cast<std::size_t>(size),
                             names);
}

// As asyncio has it; but as long as nothing was scheduled there is nothing to return for.
PyObject* Asyncio::select(PyObject* timeout) {
  Forks::end_child();  // In a callback.
  Instant until = end_of_wait(timeout);
  if (PyErr_Occurred() != nullptr) return nullptr;
  for (;;) {
    wants_turn_ = false;
    const bool has_more = client_->serve();
    if (has_more || wants_turn_ || is_stopped_) until = Instant{};
    if (client_->wait(descriptor_, until)) {
      const Reference now = Reference::steal(PyLong_FromLong(0));
      return PyObject_CallOneArg(select_.get(), now.get());
    }
    if (until == Instant{} || (until != Instant::max() && SystemClock().now() >= until))
      return PyList_New(0);
  }
}

// ---- Tasks ----

// A new task asks for its first step by call_soon(step, context=...).
bool Asyncio::capture(PyObject* const* arguments, Py_ssize_t size, PyObject* names) {
  if (size != 1 || names == nullptr || PyTuple_GET_SIZE(names) != 1) return false;
  captures_ = false;
  first_step_ = Reference::borrow(arguments[0]);
  first_context_ = Reference::borrow(arguments[1]);
  return true;
}

Reference Asyncio::make_task(PyObject* coroutine, PyObject* named, PyObject* context) {
  Reference name = Reference::steal(PyObject_GetAttr(named, qualname_.get()));
  if (!name) {
    PyErr_Clear();
    name = Reference::borrow(Py_None);  // It counts them.
  }
  const std::array<PyObject*, 4> arguments{coroutine, loop_.get(), name.get(), context};
  captures_ = true;
  Reference task = Reference::steal(
      PyObject_Vectorcall(task_class_.get(), arguments.data(), 1,
                          context != nullptr ? context_names_.get() : plain_names_.get()));
  captures_ = false;
  return task;
}

Reference Asyncio::start(PyObject* coroutine, PyObject* named, PyObject* context) {
  Reference task = make_task(coroutine, named, context);
  if (task) take_first_step();
  return task;
}

void Asyncio::take_first_step() {
  const Reference step = std::exchange(first_step_, {});
  const Reference context = std::exchange(first_context_, {});
  if (!step) return;  // asyncio has queued it, then.
  if (PyContext_Enter(context.get()) != 0) return report("a task could not enter its context");
  if (!Reference::steal(PyObject_CallNoArgs(step.get()))) report("the first step of a task failed");
  if (PyContext_Exit(context.get()) != 0) PyErr_Clear();
}

}  // namespace unirun::python
