#include "python_bindings/loop/loop_core.h"

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

#include "python_bindings/loop/handle.h"

namespace unirun::bindings {
namespace {

PyTypeObject* type = nullptr;
PyObject* extract_stack = nullptr;  // asyncio.format_helpers.extract_stack
PyObject* context_word = nullptr;   // "context"

// ---- Arguments: ([time,] callback, *args, context=None) ----

struct Arguments {
  PyObject* time = nullptr;
  PyObject* callback = nullptr;
  Reference args;
  PyObject* context = nullptr;

  [[nodiscard]] Call call() const { return {callback, args.get(), context}; }
};

// `time_name` is nullptr for a function without a time. False: an exception is set.
class ArgumentReader {
 public:
  ArgumentReader(const char* function, const char* time_name)
      : function_(function), time_name_(time_name) {}

  bool read(PyObject* const* given, Py_ssize_t count, PyObject* names, Arguments& into) const {
    Py_ssize_t next = 0;
    if (time_name_ != nullptr && next < count) into.time = given[next++];
    if (next < count) into.callback = given[next++];
    into.args = Reference::steal(PyTuple_New(count - next));
    if (!into.args) return false;
    for (Py_ssize_t i = next; i < count; ++i) {
      PyTuple_SET_ITEM(into.args.get(), i - next, Py_NewRef(given[i]));
    }
    const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t i = 0; i < named; ++i) {
      if (!read_named(PyTuple_GET_ITEM(names, i), given[count + i], into)) return false;
    }
    if (time_name_ != nullptr && into.time == nullptr) return missing(time_name_);
    return into.callback != nullptr || missing("callback");
  }

 private:
  bool read_named(PyObject* name, PyObject* value, Arguments& into) const {
    if (name == context_word || is(name, "context")) {
      into.context = value == Py_None ? nullptr : value;
      return true;
    }
    PyObject** place = is(name, "callback")                            ? &into.callback
                       : time_name_ != nullptr && is(name, time_name_) ? &into.time
                                                                       : nullptr;
    if (place == nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", function_, name);
      return false;
    }
    if (*place != nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument %R", function_, name);
      return false;
    }
    *place = value;
    return true;
  }

  static bool is(PyObject* name, const char* word) {
    return PyUnicode_CompareWithASCIIString(name, word) == 0;
  }

  bool missing(const char* name) const {
    PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function_, name);
    return false;
  }

  const char* function_;
  const char* time_name_;
};

// ---- What asyncio checks first ----

bool check_open(const LoopCore& self) {
  if (!self.closed) return true;
  PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
  return false;
}

// Which thread calls, and whether the callback is one: asyncio asks in debug mode only.
bool check_in_debug(LoopCore& self, PyObject* callback, const char* function, bool any_thread) {
  PyObject* loop = &self.ob_base;
  if (!any_thread && !Reference::steal(PyObject_CallMethod(loop, "_check_thread", nullptr)))
    return false;
  return static_cast<bool>(
      Reference::steal(PyObject_CallMethod(loop, "_check_callback", "Os", callback, function)));
}

bool trace_in_debug(PyObject* handle) {
  const Reference traceback = Reference::steal(PyObject_CallNoArgs(extract_stack));
  if (!traceback) return false;
  set_source_traceback(handle, traceback.get());
  return true;
}

Reference read_and_make(LoopCore& self, const ArgumentReader& reader, const char* function,
                        bool any_thread, PyObject* const* given, Py_ssize_t count,
                        PyObject* names) {
  Arguments arguments;
  if (!reader.read(given, count, names, arguments) || !check_open(self)) return {};
  if (self.debug && !check_in_debug(self, arguments.callback, function, any_thread)) return {};
  Reference handle = make_handle(&self.ob_base, arguments.call());
  if (!handle || (self.debug && !trace_in_debug(handle.get()))) return {};
  return handle;
}

// ---- Methods ----

PyObject* call_soon(PyObject* object, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  static constexpr const char* name = "call_soon";
  LoopCore& self = as_loop_core(object);
  Reference handle =
      read_and_make(self, ArgumentReader(name, nullptr), name, false, given, count, names);
  if (!handle) return nullptr;
  self.turns->call_soon(Reference::borrow(handle.get()));
  return handle.release();
}

PyObject* call_soon_threadsafe(PyObject* object, PyObject* const* given, Py_ssize_t count,
                               PyObject* names) {
  static constexpr const char* name = "call_soon_threadsafe";
  LoopCore& self = as_loop_core(object);
  Reference handle =
      read_and_make(self, ArgumentReader(name, nullptr), name, true, given, count, names);
  if (!handle) return nullptr;
  self.turns->call_soon_threadsafe(Reference::borrow(handle.get()));
  return handle.release();
}

PyObject* schedule(LoopCore& self, const Arguments& arguments, PyObject* when,
                   const char* function) {
  const double seconds = PyFloat_AsDouble(when);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return nullptr;
  if (!check_open(self)) return nullptr;
  if (self.debug && !check_in_debug(self, arguments.callback, function, false)) return nullptr;
  Reference handle = make_timer_handle(&self.ob_base, when, arguments.call());
  if (!handle || (self.debug && !trace_in_debug(handle.get()))) return nullptr;
  self.turns->call_at(seconds, Reference::borrow(handle.get()));
  return handle.release();
}

// The loop's time(), which a subclass may have replaced.
Reference time_of(PyObject* object) {
  if (Py_TYPE(object)->tp_base == type || Py_TYPE(object) == type) {
    return Reference::steal(PyFloat_FromDouble(monotonic_seconds()));
  }
  return Reference::steal(PyObject_CallMethod(object, "time", nullptr));
}

PyObject* call_later(PyObject* object, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  Arguments arguments;
  if (!ArgumentReader("call_later", "delay").read(given, count, names, arguments)) return nullptr;
  if (arguments.time == Py_None) {
    PyErr_SetString(PyExc_TypeError, "delay must not be None");
    return nullptr;
  }
  const Reference now = time_of(object);
  const Reference when = Reference::steal(now ? PyNumber_Add(now.get(), arguments.time) : nullptr);
  return when ? schedule(as_loop_core(object), arguments, when.get(), "call_later") : nullptr;
}

PyObject* call_at(PyObject* object, PyObject* const* given, Py_ssize_t count, PyObject* names) {
  Arguments arguments;
  if (!ArgumentReader("call_at", "when").read(given, count, names, arguments)) return nullptr;
  if (arguments.time == Py_None) {
    PyErr_SetString(PyExc_TypeError, "when cannot be None");
    return nullptr;
  }
  return schedule(as_loop_core(object), arguments, arguments.time, "call_at");
}

PyObject* time(PyObject*, PyObject*) { return PyFloat_FromDouble(monotonic_seconds()); }

PyObject* check_closed(PyObject* object, PyObject*) {
  return check_open(as_loop_core(object)) ? Py_NewRef(Py_None) : nullptr;
}

PyObject* is_closed(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_loop_core(object).closed);
}

PyObject* get_debug(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_loop_core(object).debug);
}

PyObject* is_running(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_loop_core(object).thread_id != Py_None);
}

// asyncio runs one iteration and looks whether to stop; this runs until it is to stop.
PyObject* run_once(PyObject* object, PyObject*) {
  return as_loop_core(object).turns->run() ? Py_NewRef(Py_None) : nullptr;
}

PyObject* add_callback(PyObject* object, PyObject* handle) {
  const Reference cancelled = Reference::steal(PyObject_GetAttrString(handle, "_cancelled"));
  const int dropped = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
  if (dropped < 0) return nullptr;
  if (dropped == 0) as_loop_core(object).turns->call_soon(Reference::borrow(handle));
  Py_RETURN_NONE;
}

PyObject* timer_handle_cancelled(PyObject* object, PyObject* handle) {
  if (Py_IS_TYPE(handle, timer_handle_type()) && is_scheduled(handle)) {
    as_loop_core(object).turns->on_timer_cancelled();
  }
  Py_RETURN_NONE;
}

PyObject* write_to_self(PyObject* object, PyObject*) {
  as_loop_core(object).turns->wake();
  Py_RETURN_NONE;
}

PyObject* let_go(PyObject* object, PyObject*) {
  as_loop_core(object).turns->close();
  Py_RETURN_NONE;
}

PyObject* forget(PyObject* object, PyObject*) {
  as_loop_core(object).turns->clear();
  Py_RETURN_NONE;
}

template <class Function>
PyMethodDef method(const char* name, Function function, int flags, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)), flags, doc};
}

std::array methods{
    method("call_soon", call_soon, METH_FASTCALL | METH_KEYWORDS,
           "call_soon($self, callback, /, *args, context=None)\n--\n\n"
           "Arrange for a callback to be called in the next round, first come, first served."),
    method("call_soon_threadsafe", call_soon_threadsafe, METH_FASTCALL | METH_KEYWORDS,
           "call_soon_threadsafe($self, callback, /, *args, context=None)\n--\n\n"
           "Like call_soon(), from any thread."),
    method("call_later", call_later, METH_FASTCALL | METH_KEYWORDS,
           "call_later($self, delay, callback, /, *args, context=None)\n--\n\n"
           "Arrange for a callback to be called after `delay` seconds, never earlier."),
    method("call_at", call_at, METH_FASTCALL | METH_KEYWORDS,
           "call_at($self, when, callback, /, *args, context=None)\n--\n\n"
           "Like call_later(), at a time of the loop's clock."),
    method("time", time, METH_NOARGS, "Seconds of the loop's clock: time.monotonic()."),
    method("is_closed", is_closed, METH_NOARGS, "Whether the loop was closed."),
    method("is_running", is_running, METH_NOARGS, "Whether the loop is running."),
    method("get_debug", get_debug, METH_NOARGS, "Whether the loop is in debug mode."),
    method("_check_closed", check_closed, METH_NOARGS, nullptr),
    method("_run_once", run_once, METH_NOARGS, "Run until the loop is told to stop."),
    method("_add_callback", add_callback, METH_O, nullptr),
    method("_timer_handle_cancelled", timer_handle_cancelled, METH_O, nullptr),
    method("_write_to_self", write_to_self, METH_NOARGS, nullptr),
    method("_let_go", let_go, METH_NOARGS, "Let go of the selector, before it is closed."),
    method("_forget", forget, METH_NOARGS, "Drop all that was to be called."),
    PyMethodDef{nullptr, nullptr, 0, nullptr},
};

// ---- Attributes that asyncio's Python code sets ----

template <bool LoopCore::*member>
PyObject* get_flag(PyObject* object, void*) {
  return PyBool_FromLong(as_loop_core(object).*member);
}

template <bool LoopCore::*member>
int set_flag(PyObject* object, PyObject* value, void*) {
  const int truth = value == nullptr ? 0 : PyObject_IsTrue(value);
  if (truth < 0) return -1;
  as_loop_core(object).*member = truth != 0;
  return 0;
}

PyObject* get_thread_id(PyObject* object, void*) {
  return Py_NewRef(as_loop_core(object).thread_id);
}

int set_thread_id(PyObject* object, PyObject* value, void*) {
  PyObject*& place = as_loop_core(object).thread_id;
  PyObject* dropped = std::exchange(place, Py_NewRef(value == nullptr ? Py_None : value));
  Py_DECREF(dropped);
  return 0;
}

PyObject* get_attached(PyObject* object, void*) {
  return PyBool_FromLong(as_loop_core(object).turns->attached());
}

std::array attributes{
    PyGetSetDef{"_closed", get_flag<&LoopCore::closed>, set_flag<&LoopCore::closed>, nullptr,
                nullptr},
    PyGetSetDef{"_debug", get_flag<&LoopCore::debug>, set_flag<&LoopCore::debug>, nullptr, nullptr},
    PyGetSetDef{"_stopping", get_flag<&LoopCore::stopping>, set_flag<&LoopCore::stopping>, nullptr,
                nullptr},
    PyGetSetDef{"_thread_id", get_thread_id, set_thread_id, nullptr, nullptr},
    PyGetSetDef{"_attached", get_attached, nullptr, nullptr, nullptr},
    PyGetSetDef{nullptr, nullptr, nullptr, nullptr, nullptr},
};

// ---- The type ----

PyObject* make(PyTypeObject* made, PyObject*, PyObject*) {
  PyObject* object = made->tp_alloc(made, 0);
  if (object == nullptr) return nullptr;
  LoopCore& self = as_loop_core(object);
  self.closed = true;  // Until asyncio's __init__ says otherwise.
  self.thread_id = Py_NewRef(Py_None);
  self.turns = new Turns(self);
  return object;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  const LoopCore& self = as_loop_core(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self.thread_id);
  return self.turns == nullptr ? 0 : self.turns->traverse(visit, arg);
}

int clear(PyObject* object) {
  as_loop_core(object).turns->clear();
  return 0;
}

void dealloc(PyObject* object) {
  PyTypeObject* made = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  LoopCore& self = as_loop_core(object);
  self.turns->clear();
  delete std::exchange(self.turns, nullptr);
  Py_CLEAR(self.thread_id);
  made->tp_free(object);
  Py_DECREF(made);
}

}  // namespace

bool init_loop_core() {
  if (!init_handles()) return false;
  const Reference helpers = Reference::steal(PyImport_ImportModule("asyncio.format_helpers"));
  if (!helpers) return false;
  extract_stack = PyObject_GetAttrString(helpers.get(), "extract_stack");
  context_word = PyUnicode_InternFromString("context");
  if (extract_stack == nullptr || context_word == nullptr) return false;
  std::array<PyType_Slot, 7> slots{{
      {Py_tp_new, reinterpret_cast<void*>(make)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_methods, methods.data()},
      {Py_tp_getset, attributes.data()},
      {0, nullptr},
  }};
  PyType_Spec spec{"unirun._core.LoopCore", sizeof(LoopCore), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots.data()};
  type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return type != nullptr;
}

PyTypeObject* loop_core_type() { return type; }

bool is_loop_core(PyObject* object) { return PyObject_TypeCheck(object, type); }

}  // namespace unirun::bindings
