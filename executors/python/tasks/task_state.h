// TaskState is what a future and whoever is to keep its promise share: a task's way from submission
// to its outcome. Whatever would end it (its code, its deadline, a cancellation, the end of the
// executor) claims the outcome, and the first to claim settles it.
//
// Thread: any, but for what names one. Counts its owners; the last drops it, with the GIL or
// without.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "executors/python/error.h"
#include "executors/python/interpreter/forks.h"
#include "executors/python/tasks/task_memory.h"
#include "framework/futex.h"
#include "framework/time.h"
#include "framework/timers.h"

namespace unirun::python {

// Tells tasks of one process apart; never used twice.
enum class TaskId : std::uint64_t { none = 0 };

class CoroutineTask;
// Tells contexts of one process apart; never used twice.
enum class ContextId : std::uint64_t { none = 0 };

class ContextState;

// How a task ended, as statistics count it.
enum class Ending : std::uint8_t { executed, failed, cancelled, timed_out };

// What follows once an outcome is there: once, on the thread that settles.
class Continuation {
 public:
  Continuation() = default;
  Continuation(const Continuation&) = delete;
  Continuation& operator=(const Continuation&) = delete;
  virtual ~Continuation() = default;
  // Gives what follows in its turn, or null. Whoever runs it goes on with that: if each ran the
  // next one, a long chain would need a stack as long. The task may be gone: whoever reads it owns
  // it.
  [[nodiscard]] virtual std::unique_ptr<Continuation> run() noexcept = 0;
};

class TaskState {
 public:
  TaskState() = default;
  TaskState(const TaskState&) = delete;
  TaskState& operator=(const TaskState&) = delete;

  [[nodiscard]] static void* operator new(std::size_t bytes) { return TaskMemory::take(bytes); }
  static void operator delete(void* task, std::size_t bytes) { TaskMemory::give_back(task, bytes); }

  void add_owner() { owners_.fetch_add(1, std::memory_order_relaxed); }
  void drop_owner() {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // It was made before this process was forked off, and nobody here settles it.
  [[nodiscard]] bool is_of_parent() const { return born_after_ != Forks::count(); }

  // ---- For whoever queues it ----

  // As enter_queue(), while nobody but the caller knows of it.
  void enter_queue_unseen() {
    word_.store(word_.load(std::memory_order_relaxed) | queued, std::memory_order_relaxed);
  }

  // From now on it counts. False: it was ended before, and is not to be queued.
  [[nodiscard]] bool enter_queue() {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    while ((seen & claimed) == 0) {
      if (word_.compare_exchange_weak(seen, seen | queued, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  // Does not change any more once it is claimed.
  [[nodiscard]] bool was_queued() const { return has(queued); }

  // ---- For the worker, with the GIL ----

  // False: it was ended before it could begin.
  [[nodiscard]] bool start() {
    return (word_.fetch_or(started, std::memory_order_acq_rel) & claimed) == 0;
  }
  // Runs what was submitted and settles. REQUIRES: start() said true.
  virtual void run() noexcept = 0;

  // Its code has ended, and somebody else had set the outcome, who may ask.
  void mark_over() { word_.fetch_or(over, std::memory_order_acq_rel); }

  // ---- For whoever would end it ----

  // True: the outcome is the caller's to set, by fail() or as the code of the task does.
  [[nodiscard]] bool claim(Ending ending) { return claim_unless(claimed, ending); }
  // The same, but only for a task that has not begun, which will not begin any more then.
  [[nodiscard]] bool claim_before_start(Ending ending) {
    return claim_unless(started | claimed, ending);
  }
  // REQUIRES: claimed by the caller.
  virtual void fail(Error error) noexcept = 0;

  // ---- For whoever waits ----

  // For messages: what it is besides a number; empty: nothing. It never changes.
  [[nodiscard]] virtual std::string name() const { return {}; }
  [[nodiscard]] bool has_started() const { return has(started); }
  // Its outcome is somebody's already: where it has not begun it never will.
  [[nodiscard]] bool is_claimed() const { return has(claimed); }
  // Who claimed it. REQUIRES: claimed.
  [[nodiscard]] Ending ending() const {
    return static_cast<Ending>(word_.load(std::memory_order_acquire) >> ending_shift);
  }
  [[nodiscard]] bool is_settled() const { return has(settled); }
  // Whether its code has ended. REQUIRES: it began, and it was cancelled or timed out.
  [[nodiscard]] bool is_over() const { return has(over); }

  // What its word holds from now on until it is settled, if it is not settled yet: for whoever
  // sleeps on it and on something else.
  [[nodiscard]] std::uint32_t expect() {
    return word_.fetch_or(awaited, std::memory_order_acq_rel) | awaited;
  }
  [[nodiscard]] const std::atomic<std::uint32_t>& word() const { return word_; }

  // Sleeps until it is settled: true; false at `deadline`. The GIL is not asked for.
  bool sleep_until(Instant deadline) {
    for (;;) {
      const std::uint32_t seen = expect();
      if ((seen & settled) != 0) return true;
      const bool endless = deadline == Instant::max();
      if (futex_wait(word_, seen, endless ? nullptr : &deadline) == ETIMEDOUT) return is_settled();
    }
  }

  // Runs it once the outcome is there, or here and now. One for each task: REQUIRES the first call.
  void follow(std::unique_ptr<Continuation> continuation) {
    continuation_ = std::move(continuation);
    if ((word_.fetch_or(followed, std::memory_order_acq_rel) & settled) != 0)
      go_on(std::move(continuation_));
  }

  TaskState* next = nullptr;                 // In the queue where it stands.
  TaskId id = TaskId::none;                  // Set by submission, and the rest with it.
  Instant submitted_at{};                    // Where it is measured.
  TimerId timer{};                           // Of its deadline.
  std::uint8_t priority = 1;                 // 0 is the most urgent, 3 the least.
  std::uint8_t stands_for = 0;               // So many tasks as a sample; 0: nobody measures it.
  bool is_admitted = false;                  // Has a place among those that are bounded.
  std::uint8_t looks_at_end = 0;             // So often the executor's end found it running.
  std::shared_ptr<ContextState> bound_to{};  // On its worker alone it runs; null: on any.
  CoroutineTask* coroutine = nullptr;        // Of one that may run on a loop of asyncio's.

 protected:
  virtual ~TaskState() = default;

  // Makes the outcome visible, wakes whoever waits for it, and runs what follows. REQUIRES, here
  // and below: claimed, and the outcome set.
  void announce() noexcept { go_on(announce_only()); }
  // The same, but what follows is the caller's to run.
  [[nodiscard]] std::unique_ptr<Continuation> announce_only() noexcept {
    const std::uint32_t seen = word_.fetch_or(settled, std::memory_order_acq_rel);
    if ((seen & awaited) != 0) futex_wake_all(word_);
    return (seen & followed) != 0 ? std::move(continuation_) : nullptr;
  }
  static void go_on(std::unique_ptr<Continuation> next) noexcept {
    while (next) next = next->run();
  }

 private:
  enum : std::uint32_t {
    started = 1,
    claimed = 2,
    settled = 4,
    awaited = 8,
    queued = 16,
    over = 32,
    followed = 64
  };
  static constexpr unsigned ending_shift = 7;  // Above the bits.

  [[nodiscard]] bool claim_unless(std::uint32_t bits, Ending ending) {
    std::uint32_t seen = word_.load(std::memory_order_acquire);
    const std::uint32_t mine = claimed | static_cast<std::uint32_t>(ending) << ending_shift;
    while ((seen & bits) == 0) {
      if (word_.compare_exchange_weak(seen, seen | mine, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  [[nodiscard]] bool has(std::uint32_t bit) const {
    return (word_.load(std::memory_order_acquire) & bit) != 0;
  }

  const std::uint32_t born_after_ = Forks::count();  // So many.
  std::atomic<std::uint32_t> word_{0};               // The bits above; whoever waits sleeps on it.
  std::atomic<std::uint32_t> owners_{1};
  // There once the word says `followed`. Whoever comes second to the word takes it, of the one who
  // settles and the one who follows.
  std::unique_ptr<Continuation> continuation_;
};

// Owns a share of a task.
template <class State>
class Shared {
 public:
  Shared() = default;
  // Takes over a share that is counted already.
  explicit Shared(State* state) : state_(state) {}
  Shared(const Shared& other) : state_(other.state_) {
    if (state_ != nullptr) state_->add_owner();
  }
  Shared(Shared&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Shared& operator=(Shared other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Shared() {
    if (state_ != nullptr) state_->drop_owner();
  }

  State* get() const { return state_; }
  State* operator->() const { return state_; }
  State& operator*() const { return *state_; }
  [[nodiscard]] State* release() { return std::exchange(state_, nullptr); }
  explicit operator bool() const { return state_ != nullptr; }

 private:
  State* state_ = nullptr;
};

}  // namespace unirun::python
