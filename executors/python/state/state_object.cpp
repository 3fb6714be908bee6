#include "executors/python/state/state_object.h"

#include <array>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/interpreter/main_thread.h"
#include "executors/python/state/program_state.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

using PyArguments = PyObject* const*;

// Of types that each interpreter makes for itself.
struct StateObject {
  PyObject base;
  PyTypeObject* counter_type;
  bool is_announced;  // os.environ has the address.
};
struct CounterObject {
  PyObject base;
  Counter counter;
};

PyObject* raise(const Error& error) {
  raise_error(error);
  return nullptr;
}

// What a method gives: C++ exceptions become Python's.
template <class Body>
PyObject* guarded(Body body) {
  try {
    return body();
  } catch (...) {
    raise_cpp_exception();
    return nullptr;
  }
}

// ---- Arguments ----

bool check_count(const char* method, Py_ssize_t given, Py_ssize_t least, Py_ssize_t most) {
  if (given >= least && given <= most) return true;
  PyErr_Format(PyExc_TypeError, "%s() takes %zd to %zd arguments, not %zd", method, least, most,
               given);
  return false;
}

std::optional<std::string_view> key_of(PyObject* object) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "a key of shared state is a str, not %.200s",
                 Py_TYPE(object)->tp_name);
    return std::nullopt;
  }
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text == nullptr) return std::nullopt;
  return std::string_view(text, static_cast<std::size_t>(size));
}

std::optional<std::int64_t> step_of(PyArguments arguments, Py_ssize_t count, Py_ssize_t at) {
  if (count <= at) return 1;
  const long long step = PyLong_AsLongLong(arguments[at]);
  if (step == -1 && PyErr_Occurred() != nullptr) return std::nullopt;
  return step;
}

// Seconds, or None for ever.
std::optional<Duration> ttl_of(PyObject* object) {
  if (object == nullptr || object == Py_None) return Duration::max();
  const double seconds = PyFloat_AsDouble(object);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return std::nullopt;
  if (!(seconds >= 0)) {
    PyErr_SetString(PyExc_ValueError, "ttl: seconds, not negative, or None for ever");
    return std::nullopt;
  }
  const std::chrono::duration<double> time(seconds);
  if (time >= std::chrono::duration<double>(Duration::max())) return Duration::max();
  return std::chrono::duration_cast<Duration>(time);
}

// ---- Values ----

const ConversionOptions& conversion() {
  static const Converters standard = Converters::standard();  // Names: they serve all interpreters.
  static const ConversionOptions options{.others_as_refs = false, .converters = &standard};
  return options;
}

Result<Value> value_from(PyObject* object) { return to_value(object, conversion()); }

PyObject* object_of(const Result<Value>& value) {
  if (!value) return raise(value.error());
  Result<Reference> object = to_python(*value, conversion());
  return object ? object->release() : raise(object.error());
}

PyObject* object_of(const Result<std::int64_t>& number) {
  return number ? PyLong_FromLongLong(*number) : raise(number.error());
}
PyObject* object_of(const Result<bool>& truth) {
  return truth ? PyBool_FromLong(*truth ? 1 : 0) : raise(truth.error());
}
PyObject* object_of(const Result<void>& nothing) {
  if (!nothing) return raise(nothing.error());
  Py_RETURN_NONE;
}
PyObject* object_of(const Result<std::vector<std::string>>& names) {
  if (!names) return raise(names.error());
  Reference list = Reference::steal(PyList_New(static_cast<Py_ssize_t>(names->size())));
  if (!list) return nullptr;
  Py_ssize_t at = 0;
  for (const std::string& name : *names) {
    PyObject* const text =
        PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
    if (text == nullptr) return nullptr;
    PyList_SET_ITEM(list.get(), at++, text);
  }
  return list.release();
}

// ---- The state ----

// So that processes that this one starts find it.
bool announce(StateObject& self, const std::string& address) {
  if (self.is_announced) return true;
  const Reference os = Reference::steal(PyImport_ImportModule("os"));
  if (!os) return false;
  const Reference environment = Reference::steal(PyObject_GetAttrString(os.get(), "environ"));
  const Reference text = Reference::steal(PyUnicode_FromString(address.c_str()));
  if (!environment || !text) return false;
  if (PyMapping_SetItemString(environment.get(), ProgramState::variable, text.get()) != 0)
    return false;
  self.is_announced = true;
  return true;
}

// Null: an exception is set.
const ProgramState* program_of(PyObject* self) {
  auto& object = *reinterpret_cast<StateObject*>(self);
  const Result<const ProgramState*> found = ProgramState::get();
  if (!found) {
    raise_error(found.error());
    return nullptr;
  }
  return announce(object, (*found)->address()) ? *found : nullptr;
}

// The GIL is let go of while another process is asked.
class Release {
 public:
  explicit Release(bool is_needed) : state_(is_needed ? PyEval_SaveThread() : nullptr) {}
  ~Release() { take_back(); }
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;

  void take_back() {
    if (PyThreadState* const state = std::exchange(state_, nullptr); state != nullptr)
      MainThread::take_gil(state);
  }
  void let_go_again(bool is_needed) { state_ = is_needed ? PyEval_SaveThread() : nullptr; }

 private:
  PyThreadState* state_;
};

// `call`, with the state, which touches nothing of Python's.
template <class Call>
PyObject* ask(PyObject* self, Call call) {
  return guarded([&]() -> PyObject* {
    const ProgramState* const program = program_of(self);
    if (program == nullptr) return nullptr;
    Release released(program->is_remote());
    const auto answer = call(program->state());
    released.take_back();
    return object_of(answer);
  });
}

// ---- As a mapping ----

PyObject* state_get_item(PyObject* self, PyObject* name) {
  const auto key = key_of(name);
  if (!key) return nullptr;
  return ask(self, [&](const SharedState& state) { return state.get(*key); });
}

PyObject* set_value(PyObject* self, PyObject* name, PyObject* object, Duration ttl) {
  const auto key = key_of(name);
  if (!key) return nullptr;
  return guarded([&]() -> PyObject* {
    const Result<Value> value = value_from(object);
    if (!value) return raise(value.error());
    return ask(self,
               [&](const SharedState& state) { return state.set(*key, *value, {.ttl = ttl}); });
  });
}

int state_set_item(PyObject* self, PyObject* name, PyObject* object) {
  if (object != nullptr)
    return Reference::steal(set_value(self, name, object, Duration::max())) ? 0 : -1;
  const auto key = key_of(name);
  if (!key) return -1;
  const Reference erased =
      Reference::steal(ask(self, [&](const SharedState& state) { return state.erase(*key); }));
  if (!erased) return -1;
  if (erased.get() == Py_True) return 0;
  PyErr_SetObject(PyExc_KeyError, name);
  return -1;
}

int state_contains(PyObject* self, PyObject* name) {
  const auto key = key_of(name);
  if (!key) return -1;
  const Reference found = Reference::steal(ask(self, [&](const SharedState& state) -> Result<bool> {
    const auto value = state.find(*key);
    if (!value) return value.error();
    return value->has_value();
  }));
  return found ? static_cast<int>(found.get() == Py_True) : -1;
}

Py_ssize_t state_length(PyObject* self) {
  const Reference size =
      Reference::steal(ask(self, [](const SharedState& state) -> Result<std::int64_t> {
        const Result<std::size_t> values = state.size();
        if (!values) return values.error();
        return static_cast<std::int64_t>(*values);
      }));
  return size ? PyLong_AsSsize_t(size.get()) : -1;
}

// ---- Methods of the state ----

PyObject* state_get(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("get", count, 1, 2)) return nullptr;
  const auto key = key_of(arguments[0]);
  if (!key) return nullptr;
  bool is_there = true;
  Reference value = Reference::steal(ask(self, [&](const SharedState& state) -> Result<Value> {
    auto found = state.find(*key);
    if (!found) return found.error();
    is_there = found->has_value();
    return is_there ? std::move(**found) : Value();
  }));
  if (!value || is_there) return value.release();
  return Py_NewRef(count == 2 ? arguments[1] : Py_None);
}

PyObject* state_set(PyObject* self, PyObject* args, PyObject* kwargs) {
  std::array<const char*, 4> names{"key", "value", "ttl", nullptr};
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  PyObject* seconds = nullptr;
  if (PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$O:set", const_cast<char**>(names.data()), &key,
                                  &value, &seconds) == 0)
    return nullptr;
  const std::optional<Duration> ttl = ttl_of(seconds);
  return ttl ? set_value(self, key, value, *ttl) : nullptr;
}

std::optional<std::string_view> prefix_of(PyArguments arguments, Py_ssize_t count) {
  return count == 0 ? std::string_view() : key_of(arguments[0]);
}

PyObject* state_keys(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("keys", count, 0, 1)) return nullptr;
  const auto prefix = prefix_of(arguments, count);
  if (!prefix) return nullptr;
  return ask(self, [&](const SharedState& state) { return state.keys(*prefix); });
}

PyObject* state_counters(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("counters", count, 0, 1)) return nullptr;
  const auto prefix = prefix_of(arguments, count);
  if (!prefix) return nullptr;
  return ask(self, [&](const SharedState& state) -> Result<std::vector<std::string>> {
    return state.counters(*prefix);
  });
}

PyObject* state_clear(PyObject* self, PyObject* /*unused*/) {
  return ask(self, [](const SharedState& state) { return state.clear(); });
}

// What the callable makes of the value, or the exception that it raised.
Result<Value> changed_by(PyObject* callable, const Value* current) {
  const Reference before =
      current == nullptr ? Reference::borrow(Py_None) : Reference::steal(object_of(*current));
  if (!before) return error_of_exception(Keep::exception);
  const Reference after = Reference::steal(PyObject_CallOneArg(callable, before.get()));
  if (!after) return error_of_exception(Keep::exception);
  return value_from(after.get());
}

PyObject* state_update(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("update", count, 2, 2)) return nullptr;
  const auto key = key_of(arguments[0]);
  if (!key) return nullptr;
  return guarded([&]() -> PyObject* {
    const ProgramState* const program = program_of(self);
    if (program == nullptr) return nullptr;
    Release released(program->is_remote());
    const Result<Value> value = program->state().update(*key, [&](const Value* current) {
      released.take_back();
      Result<Value> changed = changed_by(arguments[1], current);
      released.let_go_again(program->is_remote());
      return changed;
    });
    released.take_back();
    return object_of(value);
  });
}

PyObject* state_compare_exchange(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("compare_exchange", count, 3, 3)) return nullptr;
  const auto key = key_of(arguments[0]);
  if (!key) return nullptr;
  return guarded([&]() -> PyObject* {
    const Result<Value> expected = value_from(arguments[1]);
    if (!expected) return raise(expected.error());
    const Result<Value> desired = value_from(arguments[2]);
    if (!desired) return raise(desired.error());
    return ask(self, [&](const SharedState& state) {
      return state.compare_exchange(*key, *expected, *desired);
    });
  });
}

PyObject* state_incr(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("incr", count, 1, 2)) return nullptr;
  const auto key = key_of(arguments[0]);
  const auto by = step_of(arguments, count, 1);
  if (!key || !by) return nullptr;
  return ask(self, [&](const SharedState& state) { return state.increment(*key, *by); });
}

PyObject* state_decr(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("decr", count, 1, 2)) return nullptr;
  const auto key = key_of(arguments[0]);
  const auto by = step_of(arguments, count, 1);
  if (!key || !by) return nullptr;
  return ask(self, [&](const SharedState& state) { return state.decrement(*key, *by); });
}

PyObject* make_counter(PyTypeObject* type, Counter counter) {
  const auto allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
  PyObject* const made = allocate(type, 0);
  if (made != nullptr)
    new (&reinterpret_cast<CounterObject*>(made)->counter) Counter(std::move(counter));
  return made;
}

PyObject* state_counter(PyObject* self, PyObject* name) {
  const auto key = key_of(name);
  if (!key) return nullptr;
  return guarded([&]() -> PyObject* {
    const ProgramState* const program = program_of(self);
    if (program == nullptr) return nullptr;
    Release released(program->is_remote());
    Result<Counter> counter = program->state().counter(*key);
    released.take_back();
    if (!counter) return raise(counter.error());
    return make_counter(reinterpret_cast<StateObject*>(self)->counter_type, std::move(*counter));
  });
}

// ---- Counter ----

const Counter& counter_of(PyObject* self) {
  return reinterpret_cast<CounterObject*>(self)->counter;
}

PyObject* counter_incr(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("incr", count, 0, 1)) return nullptr;
  const auto by = step_of(arguments, count, 0);
  return by ? PyLong_FromLongLong(counter_of(self).increment(*by)) : nullptr;
}

PyObject* counter_decr(PyObject* self, PyArguments arguments, Py_ssize_t count) {
  if (!check_count("decr", count, 0, 1)) return nullptr;
  const auto by = step_of(arguments, count, 0);
  return by ? PyLong_FromLongLong(counter_of(self).decrement(*by)) : nullptr;
}

PyObject* counter_exchange(PyObject* self, PyObject* number) {
  const long long value = PyLong_AsLongLong(number);
  if (value == -1 && PyErr_Occurred() != nullptr) return nullptr;
  return PyLong_FromLongLong(counter_of(self).exchange(value));
}

PyObject* counter_value(PyObject* self, void* /*unused*/) {
  return PyLong_FromLongLong(counter_of(self).value());
}

void counter_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  reinterpret_cast<CounterObject*>(self)->counter.~Counter();
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(type);
}

// ---- The types ----

int state_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(reinterpret_cast<PyObject*>(reinterpret_cast<StateObject*>(self)->counter_type));
  return 0;
}

int state_clear_references(PyObject* self) {
  Py_CLEAR(reinterpret_cast<StateObject*>(self)->counter_type);
  return 0;
}

void state_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  state_clear_references(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

Reference make_counter_type(PyObject* module) {
  static std::array<PyMethodDef, 4> methods{
      {{"incr", method(counter_incr), METH_FASTCALL, "incr(by=1): adds, and gives the new value."},
       {"decr", method(counter_decr), METH_FASTCALL, "decr(by=1): the same downwards."},
       {"exchange", counter_exchange, METH_O, "exchange(value): sets it, and gives the old one."},
       {}}};
  static std::array<PyGetSetDef, 2> members{
      {{"value", counter_value, nullptr, "What it is now.", nullptr}, {}}};
  static std::array<PyType_Slot, 4> slots{{{Py_tp_methods, methods.data()},
                                           {Py_tp_getset, members.data()},
                                           {Py_tp_dealloc, slot(counter_dealloc)},
                                           {0, nullptr}}};
  static PyType_Spec spec{
      "unirun.Counter", sizeof(CounterObject), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
      slots.data()};
  return Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

Reference make_state_type(PyObject* module) {
  static std::array<PyMethodDef, 11> methods{
      {{"get", method(state_get), METH_FASTCALL, "get(key, default=None)"},
       {"set", method(state_set), METH_VARARGS | METH_KEYWORDS,
        "set(key, value, *, ttl=None): for so many seconds, or for ever."},
       {"keys", method(state_keys), METH_FASTCALL, "keys(prefix=''): of values, sorted."},
       {"counters", method(state_counters), METH_FASTCALL,
        "counters(prefix=''): their names, sorted."},
       {"clear", state_clear, METH_NOARGS, "Takes the values away, and sets the counters to 0."},
       {"update", method(state_update), METH_FASTCALL,
        "update(key, function): stores what function(value) returns, and gives it; None is passed "
        "where there is no value. Called again if another writes meanwhile."},
       {"compare_exchange", method(state_compare_exchange), METH_FASTCALL,
        "compare_exchange(key, expected, desired): stores the latter if the former stands there, "
        "and says whether it did."},
       {"incr", method(state_incr), METH_FASTCALL,
        "incr(key, by=1): of the counter; its new value."},
       {"decr", method(state_decr), METH_FASTCALL, "decr(key, by=1): the same downwards."},
       {"counter", state_counter, METH_O, "counter(key): to count often."},
       {}}};
  static std::array<PyType_Slot, 10> slots{{{Py_tp_methods, methods.data()},
                                            {Py_mp_subscript, slot(state_get_item)},
                                            {Py_mp_ass_subscript, slot(state_set_item)},
                                            {Py_mp_length, slot(state_length)},
                                            {Py_sq_contains, slot(state_contains)},
                                            {Py_tp_traverse, slot(state_traverse)},
                                            {Py_tp_clear, slot(state_clear_references)},
                                            {Py_tp_dealloc, slot(state_dealloc)},
                                            {0, nullptr}}};
  static PyType_Spec spec{"unirun.SharedState", sizeof(StateObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                              Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          slots.data()};
  return Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

}  // namespace

bool add_state(PyObject* module) {
  Reference counter_type = make_counter_type(module);
  const Reference state_type = make_state_type(module);
  if (!counter_type || !state_type) return false;
  auto* const type = reinterpret_cast<PyTypeObject*>(state_type.get());
  if (PyModule_AddType(module, type) != 0 ||
      PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(counter_type.get())) != 0)
    return false;
  auto* const state = PyObject_GC_New(StateObject, type);
  if (state == nullptr) return false;
  state->counter_type = reinterpret_cast<PyTypeObject*>(counter_type.release());
  state->is_announced = false;
  PyObject_GC_Track(state);
  const Reference object = Reference::steal(reinterpret_cast<PyObject*>(state));
  return PyModule_AddObjectRef(module, "state", object.get()) == 0;
}

}  // namespace unirun::python
