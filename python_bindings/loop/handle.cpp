#include "python_bindings/loop/handle.h"

#include <structmember.h>  // Python 3.11 needs it for PyMemberDef.

#include <array>
#include <cstddef>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "python_bindings/loop/loop_core.h"

namespace unirun::bindings {
namespace {

// Where asyncio's classes keep their slots.
struct Slots {
  std::ptrdiff_t callback = 0, args = 0, cancelled = 0, loop = 0, source_traceback = 0, repr = 0,
                 context = 0;              // Of Handle.
  std::ptrdiff_t when = 0, scheduled = 0;  // Of TimerHandle.
};

// A type, the class of asyncio that it stands on, and handles that wait to be used again.
struct Kind {
  PyTypeObject* base = nullptr;
  PyTypeObject* type = nullptr;
  std::vector<std::ptrdiff_t> owned;  // Every slot that holds a reference.
  std::vector<PyObject*> free;
};

Slots slots;
Kind plain;
Kind timed;

#ifdef Py_GIL_DISABLED
constexpr std::size_t most_free = 0;  // A shared list would need a lock, which costs what it saves.
#else
constexpr std::size_t most_free = 512;
#endif

PyObject*& at(PyObject* handle, std::ptrdiff_t slot) {
  return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(handle) + slot);
}

// 0 and an exception if `type` has no such slot.
std::ptrdiff_t offset_of(PyTypeObject* type, const char* name) {
  const Reference found =
      Reference::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), name));
  if (!found) return 0;
  if (!Py_IS_TYPE(found.get(), &PyMemberDescr_Type)) {
    PyErr_Format(PyExc_ImportError,
                 "asyncio's %s has no slot '%s': this Python is too new for unirun.loop",
                 type->tp_name, name);
    return 0;
  }
  return reinterpret_cast<PyMemberDescrObject*>(found.get())->d_member->offset;
}

bool find_slots(PyTypeObject* base,
                std::initializer_list<std::pair<const char*, std::ptrdiff_t*>> wanted) {
  for (const auto& [name, offset] : wanted) {
    if ((*offset = offset_of(base, name)) == 0) return false;
  }
  return true;
}

// Adds what `base` itself declares: newer versions of Python may know more slots than we use.
bool find_owned(PyTypeObject* base, std::vector<std::ptrdiff_t>& owned) {
  const Reference names =
      Reference::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(base), "__slots__"));
  const Reference list = Reference::steal(names ? PySequence_List(names.get()) : nullptr);
  if (!list) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list.get()); ++i) {
    const char* name = PyUnicode_AsUTF8(PyList_GET_ITEM(list.get(), i));
    if (name == nullptr) return false;
    if (std::string_view(name) == "__weakref__") continue;
    owned.push_back(offset_of(base, name));
    if (owned.back() == 0) return false;
  }
  return true;
}

const Kind& kind_of(PyObject* handle) { return Py_IS_TYPE(handle, timed.type) ? timed : plain; }

int traverse(PyObject* self, visitproc visit, void* arg) {
  for (const std::ptrdiff_t slot : kind_of(self).owned) Py_VISIT(at(self, slot));
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int clear(PyObject* self) {
  for (const std::ptrdiff_t slot : kind_of(self).owned) Py_CLEAR(at(self, slot));
  return 0;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Kind& kind = type == timed.type ? timed : plain;
  PyObject_GC_UnTrack(self);
  PyObject_ClearWeakRefs(self);
  clear(self);
  if (kind.free.size() < most_free) {
    kind.free.push_back(self);
  } else {
    type->tp_free(self);
  }
  Py_DECREF(type);
}

Reference allocate(Kind& kind) {
  if (kind.free.empty()) return Reference::steal(kind.type->tp_alloc(kind.type, 0));
  PyObject* self = kind.free.back();
  kind.free.pop_back();
  (void)PyObject_Init(self, kind.type);
  PyObject_GC_Track(self);
  return Reference::steal(self);
}

Reference make(Kind& kind, PyObject* loop, const Call& call) {
  Reference context = call.context != nullptr ? Reference::borrow(call.context)
                                              : Reference::steal(PyContext_CopyCurrent());
  if (!context) return {};
  Reference handle = allocate(kind);
  if (!handle) return {};
  PyObject* self = handle.get();
  at(self, slots.context) = context.release();
  at(self, slots.loop) = Py_NewRef(loop);
  at(self, slots.callback) = Py_NewRef(call.callback);
  at(self, slots.args) = Py_NewRef(call.args);
  at(self, slots.cancelled) = Py_NewRef(Py_False);
  at(self, slots.repr) = Py_NewRef(Py_None);
  at(self, slots.source_traceback) = Py_NewRef(Py_None);
  return handle;
}

void set(PyObject* handle, std::ptrdiff_t slot, PyObject* value) {
  PyObject* dropped = std::exchange(at(handle, slot), Py_NewRef(value));
  Py_XDECREF(dropped);
}

// In debug mode, and on a loop that is not ours, asyncio's own cancel() does more.
PyObject* cancel_as_asyncio(const Kind& kind, PyObject* self) {
  const Reference method =
      Reference::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(kind.base), "cancel"));
  return method ? PyObject_CallOneArg(method.get(), self) : nullptr;
}

PyObject* cancel(PyObject* self, PyObject*) {
  if (at(self, slots.cancelled) == Py_True) Py_RETURN_NONE;
  const Kind& kind = kind_of(self);
  PyObject* loop = at(self, slots.loop);
  if (loop == nullptr || !is_loop_core(loop) || as_loop_core(loop).debug)
    return cancel_as_asyncio(kind, self);
  if (&kind == &timed && is_scheduled(self)) as_loop_core(loop).turns->on_timer_cancelled();
  set(self, slots.cancelled, Py_True);
  set(self, slots.callback, Py_None);
  set(self, slots.args, Py_None);
  Py_RETURN_NONE;
}

PyObject* cancelled(PyObject* self, PyObject*) { return PyBool_FromLong(is_cancelled(self)); }

std::array<PyMethodDef, 3> methods{{
    {"cancel", cancel, METH_NOARGS, "Keep the callback from being called."},
    {"cancelled", cancelled, METH_NOARGS, "Whether cancel() has been called."},
    {nullptr, nullptr, 0, nullptr},
}};

bool make_type(Kind& kind, const char* name) {
  std::array<PyType_Slot, 5> members{{
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_methods, methods.data()},
      {0, nullptr},
  }};
  PyType_Spec spec{name, static_cast<int>(kind.base->tp_basicsize), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   members.data()};
  kind.type = reinterpret_cast<PyTypeObject*>(
      PyType_FromSpecWithBases(&spec, reinterpret_cast<PyObject*>(kind.base)));
  return kind.type != nullptr;
}

PyTypeObject* import_type(PyObject* module, const char* name) {
  PyObject* type = PyObject_GetAttrString(module, name);
  if (type != nullptr && !PyType_Check(type)) {
    PyErr_Format(PyExc_ImportError, "asyncio.events.%s is no class", name);
    Py_CLEAR(type);
  }
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

bool init_handles() {
  const Reference events = Reference::steal(PyImport_ImportModule("asyncio.events"));
  if (!events) return false;
  plain.base = import_type(events.get(), "Handle");
  timed.base = import_type(events.get(), "TimerHandle");
  if (plain.base == nullptr || timed.base == nullptr) return false;
  if (!find_slots(plain.base, {{"_callback", &slots.callback},
                               {"_args", &slots.args},
                               {"_cancelled", &slots.cancelled},
                               {"_loop", &slots.loop},
                               {"_source_traceback", &slots.source_traceback},
                               {"_repr", &slots.repr},
                               {"_context", &slots.context}}) ||
      !find_slots(timed.base, {{"_when", &slots.when}, {"_scheduled", &slots.scheduled}})) {
    return false;
  }
  if (!find_owned(plain.base, plain.owned)) return false;
  timed.owned = plain.owned;
  if (!find_owned(timed.base, timed.owned)) return false;
  plain.free.reserve(most_free);
  timed.free.reserve(most_free);
  return make_type(plain, "unirun.loop.Handle") && make_type(timed, "unirun.loop.TimerHandle");
}

PyTypeObject* handle_type() { return plain.type; }
PyTypeObject* timer_handle_type() { return timed.type; }

Reference make_handle(PyObject* loop, const Call& call) { return make(plain, loop, call); }

Reference make_timer_handle(PyObject* loop, PyObject* when, const Call& call) {
  Reference handle = make(timed, loop, call);
  if (handle) {
    at(handle.get(), slots.when) = Py_NewRef(when);
    at(handle.get(), slots.scheduled) = Py_NewRef(Py_False);
  }
  return handle;
}

void set_source_traceback(PyObject* handle, PyObject* traceback) {
  set(handle, slots.source_traceback, traceback);
}

bool is_plain_handle(PyObject* handle) {
  const PyTypeObject* type = Py_TYPE(handle);
  return type == plain.type || type == timed.type || type == plain.base || type == timed.base;
}

bool is_cancelled(PyObject* handle) { return at(handle, slots.cancelled) == Py_True; }
bool is_scheduled(PyObject* timer_handle) { return at(timer_handle, slots.scheduled) == Py_True; }
void set_scheduled(PyObject* timer_handle, bool scheduled) {
  set(timer_handle, slots.scheduled, scheduled ? Py_True : Py_False);
}

PyObject* context_of(PyObject* handle) { return at(handle, slots.context); }

Reference call_handle(PyObject* handle) {
  // Held here: the callback may cancel its own handle, which lets go of them.
  const Reference callback = Reference::borrow(at(handle, slots.callback));
  const Reference args = Reference::borrow(at(handle, slots.args));
  const Reference context = Reference::borrow(at(handle, slots.context));
  if (PyContext_Enter(context.get()) < 0) return {};
  Reference result = Reference::steal(
      PyObject_Vectorcall(callback.get(), &PyTuple_GET_ITEM(args.get(), 0),
                          static_cast<std::size_t>(PyTuple_GET_SIZE(args.get())), nullptr));
  if (PyContext_Exit(context.get()) < 0) return {};
  return result;
}

}  // namespace unirun::bindings
