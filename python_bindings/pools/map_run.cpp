#include "python_bindings/pools/map_run.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "python_bindings/gil.h"
#include "python_bindings/pools/future.h"
#include "python_bindings/pools/module_state.h"
#include "python_bindings/pools/timeout.h"

namespace unirun::bindings {

namespace {

struct Place {
  PyObject* outcome;  // Null: not there yet.
  bool failed;
};

}  // namespace

struct MapRun {
  PyObject_HEAD Completer* completer;
  std::vector<Place> places;
  std::size_t next;                  // To be handed out.
  std::atomic<std::uint32_t> calls;  // How often who waits was called.
  bool waited_for;                   // Somebody sleeps until places[next] is there.
  bool cancelled;
  bool limited;
  Instant deadline;
};

namespace {

MapRun* cast(PyObject* object) { return reinterpret_cast<MapRun*>(object); }
PyObject* object_of(MapRun* run) { return reinterpret_cast<PyObject*>(run); }

// 1: it is there, 0: not before the deadline, -1: an exception is set.
int wait_for_next(MapRun* run) {
  for (bool first = true;; first = false) {
    std::uint32_t seen = 0;
    {
      const ObjectLock lock(object_of(run));
      run->waited_for = run->places[run->next].outcome == nullptr;
      if (!run->waited_for) return 1;
      seen = run->calls.load(std::memory_order_acquire);
    }
    const Instant now = SystemClock().now();
    if (run->limited && now >= run->deadline) return 0;
    const Instant soon = now + second_look;
    const Instant* until = run->limited ? &run->deadline : nullptr;
    if (first && (!run->limited || soon < run->deadline)) until = &soon;
    Wakes wakes;
    if (run->completer->before_wait != nullptr) run->completer->before_wait(run->completer, wakes);
    without_gil([&] {
      wakes.ring();
      return futex_wait(run->calls, seen, until);
    });
    if (PyErr_CheckSignals() != 0) return -1;
  }
}

PyObject* run_next(PyObject* self) {
  MapRun* const run = cast(self);
  if (run->cancelled || run->next == run->places.size()) return nullptr;
  const int there = wait_for_next(run);
  if (there == 0) PyErr_SetNone(PyExc_TimeoutError);
  if (there != 1) return nullptr;
  const Place place = std::exchange(run->places[run->next++], Place{});
  if (!place.failed) return place.outcome;
  const Reference exception = Reference::steal(place.outcome);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  return nullptr;
}

// cancel(): what has not begun never does.
PyObject* run_cancel(PyObject* self, PyObject* /*unused*/) {
  cast(self)->cancelled = true;
  Py_RETURN_NONE;
}

int run_traverse(PyObject* self, visitproc visit, void* arg) {
  for (const Place& place : cast(self)->places) Py_VISIT(place.outcome);
  Py_VISIT(reinterpret_cast<PyObject*>(cast(self)->completer));
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int run_clear(PyObject* self) {
  std::vector<Place> gone;
  gone.swap(cast(self)->places);
  cast(self)->next = 0;
  for (const Place& place : gone) Py_XDECREF(place.outcome);
  Py_CLEAR(cast(self)->completer);
  return 0;
}

void run_dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  run_clear(self);
  cast(self)->places.~vector();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef* methods() {
  static std::array<PyMethodDef, 2> table{{{"cancel", run_cancel, METH_NOARGS, nullptr}, {}}};
  return table.data();
}

}  // namespace

bool init_map_run(PyObject* module) {
  std::array<PyType_Slot, 7> slots{{{Py_tp_dealloc, slot(run_dealloc)},
                                    {Py_tp_traverse, slot(run_traverse)},
                                    {Py_tp_clear, slot(run_clear)},
                                    {Py_tp_iter, slot(PyObject_SelfIter)},
                                    {Py_tp_iternext, slot(run_next)},
                                    {Py_tp_methods, methods()},
                                    {0, nullptr}}};
  PyType_Spec spec{"unirun._pools.MapRun", sizeof(MapRun), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                   slots.data()};
  PyObject* const type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  state_of(module)->map_run = reinterpret_cast<PyTypeObject*>(type);
  return type != nullptr;
}

MapRun* make_map_run(PyTypeObject* type, Completer* completer, PyObject* timeout) {
  Instant deadline{};
  const bool limited = timeout != Py_None;
  if (limited && !deadline_after(timeout, deadline)) return nullptr;
  PyObject* const made = type->tp_alloc(type, 0);
  if (made == nullptr) return nullptr;
  MapRun* const run = cast(made);
  new (&run->places) std::vector<Place>;
  run->completer = reinterpret_cast<Completer*>(Py_NewRef(reinterpret_cast<PyObject*>(completer)));
  run->limited = limited;
  run->deadline = deadline;
  return run;
}

bool add_place(MapRun* run, std::size_t& place) {
  try {
    const ObjectLock lock(object_of(run));
    place = run->places.size();
    run->places.push_back({});
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

bool is_cancelled(const MapRun* run) { return run->cancelled; }

void fill_place(MapRun* run, std::size_t place, PyObject* result, PyObject* exception,
                Wakes& wakes) {
  const ObjectLock lock(object_of(run));
  if (place >= run->places.size())
    return Py_DECREF(result != nullptr ? result : exception);  // Collected.
  run->places[place] = {result != nullptr ? result : exception, result == nullptr};
  if (!run->waited_for || place != run->next) return;
  run->waited_for = false;
  run->calls.fetch_add(1, std::memory_order_release);
  wakes.add(run->calls);
}

}  // namespace unirun::bindings
