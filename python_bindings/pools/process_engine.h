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
#include "python_bindings/pools/process_link.h"
#include "python_bindings/pools/statistics.h"

namespace unirun::bindings {

// One call, from submit() to its result.
struct ProcessTask {
  Reference future;
  Reference callable;
  Reference arguments;
  Reference keywords;  // Or nothing.
  std::uint64_t id = 0;
  Instant queued_at{};
  Duration timeout{};      // Zero: none.
  bool started = false;    // Its future is running: it was with a worker already.
  Frame* frame = nullptr;  // With a worker: where.

  [[nodiscard]] Future* target() const { return reinterpret_cast<Future*>(future.get()); }
  int traverse(visitproc visit, void* arg) const;
};

// One worker process, as the pool sees it.
struct ProcessWorker {
  ProcessWorker(std::uint64_t number, int file);

  std::uint64_t id;
  SharedMemory memory;
  RingWriter tasks;
  RingReader results;
  std::deque<ProcessTask> calls;  // With it, in the order in which it makes them.
  std::vector<bool> functions;    // Which ones it knows.
  std::size_t window = 2;         // How many calls it may have at a time.
  Duration run_time{};            // Of its calls, lately.
  Instant deadline{};             // Of its only call; the epoch: none.
  int life = -1;                  // Closed when this process ends, however it ends.
  int socket = -1;
  int sentinel = -1;  // Python's: readable once the process has ended.
  bool attached = false;
  bool to_be_woken = false;
  bool told_dead = false;

  [[nodiscard]] WorkerWords* words() const {
    return reinterpret_cast<WorkerWords*>(memory.start());
  }
  void close_ends();
};

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
  // Forgets a worker that has ended. The future of the call that it was making, or None; what it
  // had not begun is first in the queue again. Null: an exception is set.
  [[nodiscard]] PyObject* bury(std::uint64_t id);
  void stop_workers();

  // ---- The manager's thread ----
  // ("attention" | "died" | "overdue" | "damaged", worker ids): works until one of these.
  [[nodiscard]] PyObject* serve();
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

 private:
  [[nodiscard]] PoolWords* words() const { return reinterpret_cast<PoolWords*>(memory_->start()); }
  [[nodiscard]] std::shared_ptr<ProcessWorker> find(std::uint64_t id) const;

  // Calls out, results in.
  void dispatch(Wakes& wakes);
  [[nodiscard]] bool send(ProcessTask& task, Wakes& wakes);
  void refuse(ProcessTask& task, Wakes& wakes);
  [[nodiscard]] ProcessWorker* choose(const ProcessTask& task) const;
  [[nodiscard]] bool encode(const ProcessTask& task, std::uint32_t& function);
  [[nodiscard]] bool introduce(ProcessWorker& worker, std::uint32_t function);
  [[nodiscard]] std::uint32_t index_of(PyObject* callable);
  void wake_workers();
  bool drain(Wakes& wakes);
  bool drain_worker(ProcessWorker& worker, Wakes& wakes);
  void account(ProcessWorker& worker, const ProcessTask& task, const Frame& frame, bool failed);
  void deliver(Wakes& wakes);
  void recall();

  // Sleeping.
  [[nodiscard]] bool has_results() const;
  [[nodiscard]] bool may_be_lazy() const;
  int sleep_as_waiter(Future* future, Wakes& wakes, bool lazy, const Instant* deadline);
  int sleep_on_future(Future* future, const Instant* deadline);
  void leave_to_manager();
  void wake_waiter();
  void wake_manager();
  enum class Woken { told, looked };  // By somebody; by its own clock.
  Woken poll(bool lazy, std::vector<std::uint64_t>& died);
  void arm_timer();
  [[nodiscard]] std::vector<std::uint64_t> overdue() const;

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
  int timer_ = -1;

  std::deque<ProcessTask> queue_;
  std::vector<std::shared_ptr<ProcessWorker>> workers_;
  std::vector<Reference> functions_;  // By index, held: an address is never used again.
  std::unordered_map<PyObject*, std::uint32_t> function_indices_;
  std::deque<Delivery> deliveries_;
  std::uint64_t last_task_ = 0;
  std::uint64_t last_worker_ = 0;
  Statistics statistics_;

  bool dispatching_ = false;
  bool draining_ = false;
  bool attention_ = false;
  bool closed_ = false;
  bool manager_polls_ = false;
  bool manager_preferred_ = false;  // It found the latest results: no result() is in sight.
  std::atomic<bool> waiter_present_{false};
  std::atomic<std::uint64_t> drains_{0};
  std::atomic<bool> timer_armed_{false};
  std::size_t other_waiters_ = 0;
  std::size_t in_flight_ = 0;  // Calls that are with workers.
};

}  // namespace unirun::bindings
