#include "executors/python/interpreter/graveyard.h"

#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "executors/python/interpreter/python_thread.h"

namespace unirun::python {
namespace {

struct Plots {
  std::atomic<std::size_t> taken{0};
  std::atomic<Graveyard::Bell> bell{nullptr};
  std::mutex
      mutex;  // Guards the next. Nobody asks for the GIL, or drops anything, while it is held.
  std::map<std::int64_t, std::vector<PyObject*>> objects;
};

// Never destroyed: references may be dropped after main() has ended.
Plots& plots() {
  static auto* const all = new Plots;
  return *all;
}

std::vector<PyObject*> take(std::int64_t interpreter_id) {
  const std::lock_guard lock(plots().mutex);
  const auto found = plots().objects.find(interpreter_id);
  if (found == plots().objects.end()) return {};
  plots().taken.fetch_sub(found->second.size(), std::memory_order_relaxed);
  return std::exchange(found->second, {});
}

}  // namespace

void Graveyard::bury(PyObject* object, std::int64_t interpreter_id) noexcept {
  bool first = false;
  try {
    const std::lock_guard lock(plots().mutex);
    auto& objects = plots().objects[interpreter_id];
    first = objects.empty();
    objects.push_back(object);
    plots().taken.fetch_add(1, std::memory_order_relaxed);
  } catch (const std::bad_alloc&) {
    return;  // It lives on: better than an end of the process.
  }
  const Bell bell = plots().bell.load(std::memory_order_acquire);
  if (first && bell != nullptr) bell();
}

void Graveyard::clear() {
  if (plots().taken.load(std::memory_order_relaxed) == 0) return;
  // What dies may bury more, and may run any code.
  for (PyObject* const object : take(PythonThread::interpreter_id())) Py_DECREF(object);
}

void Graveyard::call(Bell bell) { plots().bell.store(bell, std::memory_order_release); }

// Another thread may have been about to change all of it.
void Graveyard::forget() {
  call(nullptr);
  plots().taken = 0;
  new (&plots().mutex) std::mutex;
  new (&plots().objects) decltype(Plots::objects);
}

void Graveyard::close(std::int64_t interpreter_id) { take(interpreter_id); }

}  // namespace unirun::python
