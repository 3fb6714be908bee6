// NativePool: what our pools of threads and of interpreters have in common, the type that the
// Python class mixes in: it holds an engine, queues tasks for it and has the Python class start the
// threads that the engine wants.
//
// An Engine has `closed`, `exiting`, and beside it push_task(), take_back(), close_engine() and a
// type of task with destroy().
//
// Thread: with the GIL.

#pragma once

#include "python_bindings/pools/module_state.h"
// Python.h first.

#include <array>
#include <utility>

#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/future.h"
#include "python_bindings/pools/wakes.h"

namespace unirun::bindings {

template <class Engine>
struct NativePool {
  PyObject_HEAD Engine* engine;  // Null before open().

  static NativePool* cast(PyObject* object) { return reinterpret_cast<NativePool*>(object); }

  // Takes `engine` over; what open_engine() returns. Null where it is: an exception is set.
  static PyObject* open(PyObject* self, Engine* engine) {
    if (engine == nullptr) return nullptr;
    Py_XSETREF(cast(self)->engine, engine);
    return Py_NewRef(reinterpret_cast<PyObject*>(engine));
  }

  // The engine, if it takes tasks. Null: an exception is set, the one that the standard class
  // raises.
  static Engine* engine_of(PyObject* self) {
    Engine* const engine = cast(self)->engine;
    if (engine != nullptr && !engine->closed && !engine->exiting) return engine;
    const Reference refused = Reference::steal(PyObject_CallMethod(self, "_refuse", nullptr));
    return nullptr;
  }

  // False: an exception is set; the task is gone, unless there are others to do it.
  template <class Task>
  static bool queue_task(PyObject* self, Engine* engine, Task* task) {
    if (task == nullptr) return false;
    Wakes wakes;
    if (push_task(engine, task, wakes)) return start_worker(self, engine, task);
    // Else they are called with the GIL held: where many tasks follow, they are to find many.
    if (wakes.empty() || !takes_outcomes()) return true;
    engine->completer.rendezvous.let_go();  // Without the GIL the engine might be gone.
    without_gil([&] {
      wakes.ring();
      return 0;
    });
    return true;
  }

  static int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(reinterpret_cast<PyObject*>(cast(self)->engine));
    Py_VISIT(Py_TYPE(self));
    return 0;
  }

  // An executor that goes away takes no work any more; what is queued is still done.
  static int clear(PyObject* self) {
    if (cast(self)->engine != nullptr) {
      Wakes wakes;
      close_engine(cast(self)->engine, wakes);
      Py_CLEAR(cast(self)->engine);
    }
    return 0;
  }

  static void dealloc(PyObject* self) {
    PyTypeObject* const type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    type->tp_free(self);
    Py_DECREF(type);
  }

  // Makes the type and adds it to the module. False: an exception is set.
  static bool init(PyObject* module, const char* name, PyMethodDef* methods) {
    std::array<PyType_Slot, 5> slots{{{Py_tp_dealloc, slot(dealloc)},
                                      {Py_tp_traverse, slot(traverse)},
                                      {Py_tp_clear, slot(clear)},
                                      {Py_tp_methods, methods},
                                      {0, nullptr}}};
    PyType_Spec spec{name, sizeof(NativePool), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots.data()};
    const Reference type = Reference::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
    return type && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type.get())) == 0;
  }

 private:
  // Has the Python class start a thread.
  template <class Task>
  static bool start_worker(PyObject* self, Engine* engine, Task* task) {
    const Reference started =
        Reference::steal(PyObject_CallMethod(self, "_adjust_thread_count", nullptr));
    if (started) return true;
    Reference raised = take_exception();
    if (take_back(engine, task)) {
      Task::destroy(task);
    } else if (PyErr_GivenExceptionMatches(raised.get(), PyExc_RuntimeError) != 0) {
      return true;  // One thread more cannot be had; there are others.
    }
    raise_exception(std::move(raised));
    return false;
  }
};

}  // namespace unirun::bindings
