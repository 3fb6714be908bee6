// What the engine of a process pool holds (process_pool.h says what it is).

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "framework/time.h"
#include "python_bindings/pools/future.h"
#include "python_bindings/pools/process_codec.h"
#include "python_bindings/pools/process_crew.h"
#include "python_bindings/pools/process_link.h"
#include "python_bindings/pools/statistics.h"
#include "supervisors/restart_intensity.h"

namespace unirun::bindings {

// How long who waits lazily sleeps before it looks by itself, and how much work a worker may have
// in advance.
constexpr Duration lazy_time = std::chrono::microseconds(200);

// A result that is not given to its future in the thread that found it: it has callbacks.
struct Delivery {
  Reference future;
  Reference value;
  bool failed;
};

class ProcessEngine {
 public:
  ProcessEngine(PyObject* self, PyTypeObject* future_class, PyObject* loads,
                PyObject* refuse_pickle);
  ~ProcessEngine();
  ProcessEngine(const ProcessEngine&) = delete;
  ProcessEngine& operator=(const ProcessEngine&) = delete;

  // False: an exception is set.
  [[nodiscard]] bool init(PyObject* make_pickler, bool reuse);

  // ---- Calls ----
  // Null: an exception is set.
  [[nodiscard]] PyObject* submit(PyObject* callable, Reference arguments, Reference keywords,
                                 Duration timeout);
  void cancel_queued();
  // Every future that is not done, queued ones last; the pool forgets them.
  [[nodiscard]] PyObject* abandon();
  int wait(Future* future, const Instant* deadline);

  // ---- Workers ----
  // (id, pool file, worker file, event, life, socket): descriptors for the new process, the
  // caller's to close. Null: an exception is set.
  [[nodiscard]] PyObject* open_worker();
  void attach(std::uint64_t id, int sentinel);
  // Forgets a worker that has ended. The call that it was making, (future, callable, arguments,
  // timeout or 0), or None; what it had not begun is first in the queue again. Null: an exception
  // is set.
  [[nodiscard]] PyObject* bury(std::uint64_t id);
  void set_restart_limits(RestartIntensity::Limits limits) { restarts_.set_limits(limits); }
  // Counts a worker that is to be replaced because it has died. False: that is one too many.
  [[nodiscard]] bool tolerates_restart();
  // Once they have done what they have.
  void stop_workers();
  // ("died" | "overdue", worker ids), or ("ended", []) after stop_watching(). In a thread of its
  // own: callbacks, which the manager runs, do not hold up the end of a call over its time.
  [[nodiscard]] PyObject* watch_workers();
  void stop_watching();

  // ---- The manager's thread ----
  // Works until somebody calls for attention, a result is unreadable or the pool is over.
  [[nodiscard]] PyObject* serve();
  // Completes a future that is with no worker any more; callbacks are left to the manager.
  void fail(PyObject* future, PyObject* error);
  void call_for_attention();
  // Somebody is about to wait with the standard library's means: the manager will be needed.
  void expect_manager();
  void after_fork();
  void close();

  [[nodiscard]] PyObject* statistics(std::size_t workers) const;
  // Has the eventfd told of the next change of the statistics; -1: none.
  void watch(int bell) { statistics_.bell = bell; }
  int traverse(visitproc visit, void* arg) const;
  void clear();

  bool is_open = false;
  bool may_grow = false;        // Fewer processes than allowed: one more where none is idle.
  std::size_t idle_tokens = 0;  // As the standard library counts idle workers.
  Duration default_timeout{};
  Reference damage;  // What made a result unreadable, until the manager takes it.

  [[nodiscard]] std::size_t pending() const;
  // Of those the calls that have no result yet.
  [[nodiscard]] std::size_t unfinished() const { return queue_.size() + in_flight_; }
  // These as a list of (number, future, callable, arguments, keywords or None), in no order. Null:
  // an exception is set.
  [[nodiscard]] PyObject* calls();

 private:
  [[nodiscard]] PoolWords* words() const { return reinterpret_cast<PoolWords*>(memory_->start()); }

  // Calls out, results in.
  void dispatch(Wakes& wakes);
  [[nodiscard]] bool send(ProcessTask& task, Wakes& wakes);
  void refuse(ProcessTask& task, Wakes& wakes);
  [[nodiscard]] bool encode(const ProcessTask& task, std::uint32_t& function);
  [[nodiscard]] bool introduce(ProcessWorker& worker, std::uint32_t function);
  [[nodiscard]] std::uint32_t index_of(PyObject* callable);
  bool drain(Wakes& wakes);
  bool drain_worker(ProcessWorker& worker, Wakes& wakes);
  void account(ProcessWorker& worker, const ProcessTask& task, const Frame& frame, bool failed);
  void deliver_or_finish(Reference future, Reference value, bool failed, Wakes& wakes);
  void deliver(Wakes& wakes);
  void recall();

  // Sleeping.
  int sleep_as_waiter(Future* future, Wakes& wakes, bool lazy, const Instant* deadline);
  int sleep_on_future(Future* future, const Instant* deadline);
  void leave_to_manager();
  void wake_manager();
  void call_watcher();
  void close_descriptors();
  enum class Woken { told, looked };  // By somebody; by its own clock.
  Woken poll(bool lazy);
  void arm_timer();

  PyObject* self_;
  PyTypeObject* future_class_;
  Reference loads_;
  Reference refuse_pickle_;
  Encoder encoder_;
  Parcel parcel_;
  Parcel function_parcel_;
  std::unique_ptr<SharedMemory> memory_;
  int file_ = -1;
  int event_ = -1;
  int watch_event_ = -1;
  int timer_ = -1;

  std::deque<ProcessTask> queue_;
  ProcessCrew crew_;
  RestartIntensity restarts_{{}};
  std::vector<Reference> functions_;  // By index, held: an address is never used again.
  std::unordered_map<PyObject*, std::uint32_t> function_indices_;
  std::deque<Delivery> deliveries_;
  std::uint64_t last_task_ = 0;
  Statistics statistics_;

  bool dispatching_ = false;
  bool draining_ = false;
  bool attention_ = false;
  bool watch_is_over_ = false;
  bool closed_ = false;
  Instant watches_until_{};  // While it sleeps: until when, at the latest. The epoch: it is awake.
  bool manager_polls_ = false;
  bool manager_preferred_ = false;  // It found the latest results: no result() is in sight.
  std::atomic<bool> waiter_present_{false};
  std::atomic<std::uint64_t> drains_{0};
  std::atomic<bool> timer_armed_{false};
  std::size_t other_waiters_ = 0;
  std::size_t condemned_ = 0;  // Calls that are with nobody, until fail() ends them.
  std::size_t in_flight_ = 0;  // Calls that are with workers.
};

}  // namespace unirun::bindings
