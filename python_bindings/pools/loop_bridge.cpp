#include "python_bindings/pools/loop_bridge.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <new>
#include <utility>
#include <vector>

#include "python_bindings/exception.h"
#include "python_bindings/pools/future.h"
#include "python_bindings/pools/module_state.h"

namespace unirun::bindings {

namespace {

struct Delivery {
  Reference awaited;
  Reference result;
  Reference exception;
};

}  // namespace

struct LoopBridge {
  PyObject_HEAD PyObject* convert;  // (exception) -> the exception that asyncio wants in its place.
  int bell;                         // An eventfd, or -1.
  bool rung;
  PyObject* done;  // Names of what every asyncio future has.
  PyObject* set_result;
  PyObject* set_exception;
  std::vector<Delivery> waiting;
};

namespace {

LoopBridge* cast(PyObject* object) { return reinterpret_cast<LoopBridge*>(object); }
PyObject* object_of(LoopBridge* bridge) { return reinterpret_cast<PyObject*>(bridge); }

// LoopBridge(convert)
PyObject* bridge_new(PyTypeObject* type, PyObject* args, PyObject* /*kwargs*/) {
  PyObject* convert = nullptr;
  if (!PyArg_ParseTuple(args, "O:LoopBridge", &convert)) return nullptr;
  Reference made = Reference::steal(type->tp_alloc(type, 0));
  if (!made) return nullptr;
  LoopBridge* const bridge = cast(made.get());
  new (&bridge->waiting) std::vector<Delivery>;
  bridge->bell = -1;
  bridge->convert = Py_NewRef(convert);
  bridge->done = PyUnicode_InternFromString("done");
  bridge->set_result = PyUnicode_InternFromString("set_result");
  bridge->set_exception = PyUnicode_InternFromString("set_exception");
  if (bridge->done == nullptr || bridge->set_result == nullptr || bridge->set_exception == nullptr)
    return nullptr;
  bridge->bell = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bridge->bell < 0) return PyErr_SetFromErrno(PyExc_OSError);
  return made.release();
}

PyObject* bridge_fileno(PyObject* self, PyObject* /*unused*/) {
  return PyLong_FromLong(cast(self)->bell);
}

bool is_done(const LoopBridge* bridge, PyObject* awaited) {
  const Reference done = Reference::steal(PyObject_CallMethodNoArgs(awaited, bridge->done));
  if (!done) PyErr_WriteUnraisable(awaited);
  return !done || PyObject_IsTrue(done.get()) != 0;
}

// An exception that a future refuses (StopIteration) is told by the one with which it refused.
void fail(LoopBridge* bridge, PyObject* awaited, PyObject* exception) {
  const Reference fit = Reference::steal(PyObject_CallOneArg(bridge->convert, exception));
  Reference set =
      fit ? Reference::steal(PyObject_CallMethodOneArg(awaited, bridge->set_exception, fit.get()))
          : Reference();
  if (set) return;
  const Reference refusal = take_exception();
  set = Reference::steal(PyObject_CallMethodOneArg(awaited, bridge->set_exception, refusal.get()));
  if (!set) PyErr_WriteUnraisable(awaited);
}

// deliver(): sets what has come; the loop calls it when the bell rings.
PyObject* bridge_deliver(PyObject* self, PyObject* /*unused*/) {
  note_outcome_taken();
  LoopBridge* const bridge = cast(self);
  std::uint64_t rings = 0;
  [[maybe_unused]] const ssize_t got = ::read(bridge->bell, &rings, sizeof rings);
  std::vector<Delivery> come;
  {
    const ObjectLock lock(self);
    come.swap(bridge->waiting);
    bridge->rung = false;
  }
  for (const Delivery& each : come) {
    if (is_done(bridge, each.awaited.get())) continue;  // Cancelled meanwhile.
    if (each.exception) {
      fail(bridge, each.awaited.get(), each.exception.get());
      continue;
    }
    const Reference set = Reference::steal(
        PyObject_CallMethodOneArg(each.awaited.get(), bridge->set_result, each.result.get()));
    if (!set) PyErr_WriteUnraisable(each.awaited.get());
  }
  Py_RETURN_NONE;
}

int bridge_traverse(PyObject* self, visitproc visit, void* arg) {
  for (const Delivery& each : cast(self)->waiting) {
    Py_VISIT(each.awaited.get());
    Py_VISIT(each.result.get());
    Py_VISIT(each.exception.get());
  }
  Py_VISIT(cast(self)->convert);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int bridge_clear(PyObject* self) {
  std::vector<Delivery> gone;
  gone.swap(cast(self)->waiting);
  Py_CLEAR(cast(self)->convert);
  Py_CLEAR(cast(self)->done);
  Py_CLEAR(cast(self)->set_result);
  Py_CLEAR(cast(self)->set_exception);
  return 0;
}

void bridge_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  bridge_clear(self);
  if (cast(self)->bell >= 0) ::close(cast(self)->bell);
  cast(self)->waiting.~vector();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 3> table{{
      {"fileno", bridge_fileno, METH_NOARGS, nullptr},
      {"deliver", bridge_deliver, METH_NOARGS, nullptr},
  }};
  return table.data();
}

}  // namespace

bool init_loop_bridge(PyObject* module) {
  std::array<PyType_Slot, 6> slots{{{Py_tp_new, slot(bridge_new)},
                                    {Py_tp_dealloc, slot(bridge_dealloc)},
                                    {Py_tp_traverse, slot(bridge_traverse)},
                                    {Py_tp_clear, slot(bridge_clear)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.LoopBridge", sizeof(LoopBridge), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots.data()};
  PyObject* const type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  if (type == nullptr) return false;
  state_of(module)->loop_bridge = reinterpret_cast<PyTypeObject*>(type);
  return PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type)) == 0;
}

int Errand::traverse(visitproc visit, void* arg) const {
  Py_VISIT(object_of(bridge));
  Py_VISIT(awaited);
  Py_VISIT(context);
  return 0;
}

Errand* make_errand(PyObject* bridge, PyObject* awaited) {
  Reference context = Reference::steal(PyContext_CopyCurrent());
  if (!context) return nullptr;
  void* const memory = PyMem_Malloc(sizeof(Errand));
  if (memory == nullptr) {
    PyErr_NoMemory();
    return nullptr;
  }
  return new (memory) Errand{cast(Py_NewRef(bridge)), Py_NewRef(awaited), context.release()};
}

void destroy_errand(Errand* errand) {
  Py_DECREF(object_of(errand->bridge));
  Py_DECREF(errand->awaited);
  Py_DECREF(errand->context);
  PyMem_Free(errand);
}

bool is_cancelled(const Errand* errand) { return is_done(errand->bridge, errand->awaited); }

void deliver(const Errand* errand, PyObject* result, PyObject* exception, Wakes& wakes) {
  LoopBridge* const bridge = errand->bridge;
  Delivery delivery{Reference::borrow(errand->awaited), Reference::steal(result),
                    Reference::steal(exception)};
  // Cancelled, as all are when their loop ends: what is left for a loop that never comes keeps it
  // alive.
  if (is_done(bridge, errand->awaited)) return;
  const ObjectLock lock(object_of(bridge));
  bridge->waiting.push_back(std::move(delivery));
  if (!std::exchange(bridge->rung, true)) wakes.add_eventfd(bridge->bell);
}

}  // namespace unirun::bindings
