#include "python_bindings/services/asyncio_loops.h"
// asyncio_loops.h first: it brings Python.h.

#include <chrono>
#include <utility>

#include "python_bindings/gil.h"
#include "python_bindings/services/python_life.h"
#include "python_bindings/services/service_link.h"

namespace unirun::bindings {
namespace {

// For tasks that services left behind on the loop, and for the threads of its default executor.
constexpr Duration patience = std::chrono::seconds{1};

// The service whose task, child task or callback runs in this context: a ContextVar says it.
std::shared_ptr<LoopOccupant> occupant_of(PyObject* context) {
  static PyObject* const current = py::object(in_process().attr("_on_loop")).release().ptr();
  const auto link = py::reinterpret_steal<py::object>(PyObject_GetItem(context, current));
  if (!link) PyErr_Clear();  // Nobody's: asyncio's own.
  if (!link || link.is_none()) return nullptr;
  return link.cast<const ServiceLink&>().occupant();
}

}  // namespace

Result<PyObject*> AsyncioLoops::of(EventLoop& loop) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = attached_.find(&loop); found != attached_.end()) {
      return found->second->loop();
    }
  }
  auto attached = AttachedLoop::attach(loop);  // Not under the lock: it takes the GIL.
  if (!attached) return attached.error();
  (*attached)->name_occupants(occupant_of);
  PyObject* const python_loop = (*attached)->loop();
  const std::lock_guard lock(mutex_);
  attached_.emplace(&loop, std::move(*attached));
  return python_loop;
}

void AsyncioLoops::leave(EventLoop& loop) {
  std::unique_ptr<AttachedLoop> attached;
  {
    const std::lock_guard lock(mutex_);
    const auto found = attached_.find(&loop);
    if (found == attached_.end()) return;
    attached = std::move(found->second);
    attached_.erase(found);
  }
  attached->detach(patience);
  const Gil gil;
  try {
    in_process().attr("forget_thread")();
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("unirun: the end of the loop's thread");
  }
}

}  // namespace unirun::bindings
