#include "executors/python/interpreter/python_thread.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/main_thread.h"
#include "framework/doorbell.h"

namespace unirun::python {
namespace {

struct Doorkeeper {
  std::atomic<bool> open{false};
  std::atomic<std::size_t> life{0};  // Counts the interpreters that this process has had.
  Doorbell left;                     // Rings when somebody leaves while the gate is shut.
  std::mutex mutex;                  // Guards the next.
  std::vector<PythonThread*> threads;
};

// Never destroyed: threads may end after main() has.
Doorkeeper& doorkeeper() {
  static auto* const keeper = new Doorkeeper;
  return *keeper;
}

}  // namespace

// ---- The gate ----

void Gate::open() {
  doorkeeper().life.fetch_add(1, std::memory_order_relaxed);
  doorkeeper().open.store(true);
  MainThread::open();
}

bool Gate::is_open() { return doorkeeper().open.load(std::memory_order_acquire); }

bool Gate::is_empty() {
  const std::lock_guard lock(doorkeeper().mutex);
  return std::ranges::all_of(
      doorkeeper().threads, [](const PythonThread* thread) { return thread->inside_.load() == 0; });
}

bool Gate::close(Duration timeout) {
  if (close_for_good(timeout)) return true;
  doorkeeper().open.store(true);
  return false;
}

bool Gate::close_for_good(Duration timeout) {
  doorkeeper().open.store(false);
  return doorkeeper().left.wait(timeout, [] { return is_empty(); });
}

void Gate::forget() {
  MainThread::close();
  doorkeeper().open.store(false);
  new (&doorkeeper().mutex) std::mutex;  // Whoever held it is not here.
  doorkeeper().threads.clear();
}

// The order counts, here against close(): each first says what it does and then looks at the other.
bool Gate::enter(PythonThread& thread) {
  thread.inside_.fetch_add(1);
  if (doorkeeper().open.load()) return true;
  leave(thread);
  return false;
}

void Gate::leave(PythonThread& thread) {
  thread.inside_.fetch_sub(1);
  if (!doorkeeper().open.load()) doorkeeper().left.ring();
}

// ---- The thread ----

PythonThread& PythonThread::current() {
  thread_local PythonThread thread;
  return thread;
}

PythonThread::PythonThread() {
  const std::lock_guard lock(doorkeeper().mutex);
  doorkeeper().threads.push_back(this);
}

PythonThread::~PythonThread() {
  // It is current where Python code, or a task, has called exit(): then all is left as it is.
  if (made_ != nullptr && attached_state() != made_ && Gate::enter(*this)) {
    if (life_ == doorkeeper().life.load(std::memory_order_relaxed)) {
      MainThread::take_gil(made_);
      PyThreadState_Clear(made_);
      PyThreadState_DeleteCurrent();
    }
    Gate::leave(*this);
  }
  const std::lock_guard lock(doorkeeper().mutex);
  std::erase(doorkeeper().threads, this);
}

// Whoever holds the GIL has it, though the gate be shut: a host's own threads until it finalizes.
PyThreadState* PythonThread::attached_state() {
#if PY_VERSION_HEX >= 0x030d0000
  return PyThreadState_GetUnchecked();
#elif PY_VERSION_HEX >= 0x030c0000
  return _PyThreadState_UncheckedGet();
#else
  // Here it is whoever holds the one GIL, on any thread.
  PyThreadState* const holder = _PyThreadState_UncheckedGet();
  return holder != nullptr && holder == PyGILState_GetThisThreadState() ? holder : nullptr;
#endif
}

std::int64_t PythonThread::interpreter_id() {
  PyThreadState* const state = attached_state();
  return state != nullptr ? PyInterpreterState_GetID(PyThreadState_GetInterpreter(state)) : -1;
}

PyThreadState* PythonThread::find_state() {
  if (home_ != nullptr) return home_;
  PyThreadState* const found = PyGILState_GetThisThreadState();
  return found != nullptr ? found : find_main_state();
}

PyThreadState* PythonThread::find_main_state() {
  PyThreadState* const found = PyGILState_GetThisThreadState();
  if (found != nullptr && found->interp == PyInterpreterState_Main()) return found;
  // Python forgets it where the thread has been in another interpreter since.
  const std::size_t life = doorkeeper().life.load(std::memory_order_relaxed);
  if (made_ != nullptr && life_ == life) return made_;
  life_ = life;
  made_ = PyThreadState_New(PyInterpreterState_Main());
  return made_;
}

void PythonThread::take_gil(PyThreadState* state) {
  MainThread::take_gil(state);
  Graveyard::clear();
}

bool PythonThread::attach() {
  if (!Gate::enter(*this)) return false;
  take_gil(find_state());
  return true;
}

bool PythonThread::attach_to_main() {
  if (!Gate::enter(*this)) return false;
  take_gil(find_main_state());
  return true;
}

void PythonThread::leave_ended() { Gate::leave(*this); }

void PythonThread::leave() {
  PyEval_SaveThread();
  Gate::leave(*this);
}

}  // namespace unirun::python
