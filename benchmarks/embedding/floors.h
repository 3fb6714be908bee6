// What the machine itself takes for what the executor does, and what one writes in five minutes:
// the bare things that embedding_bench measures beside it, in the same run.
//
// Thread: each object its owner's; the destructors join.

#pragma once

#include <Python.h>
// Python.h first.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "framework/clock.h"
#include "framework/futex.h"

namespace unirun::bench {

// Two threads that wake each other by a futex, and nothing else.
class BareWake {
 public:
  BareWake() : other_([this] { answer(); }) {}
  ~BareWake() {
    is_over_.store(true);
    call();
    other_.join();
  }
  BareWake(const BareWake&) = delete;
  BareWake& operator=(const BareWake&) = delete;

  void round_trip() {
    call();
    while (answers_.load() != calls_.load()) futex_wait(answers_, calls_.load() - 1, nullptr);
  }
  // When the other one woke, last.
  [[nodiscard]] Instant woken_at() const { return woken_at_; }

 private:
  void call() {
    calls_.fetch_add(1);
    futex_wake(calls_, 1);
  }
  void answer() {
    for (std::uint32_t seen = 0; !is_over_.load(); ++seen) {
      while (calls_.load() == seen) futex_wait(calls_, seen, nullptr);
      woken_at_ = SystemClock().now();
      answers_.store(seen + 1);
      futex_wake(answers_, 1);
    }
  }

  std::atomic<std::uint32_t> calls_{0};
  std::atomic<std::uint32_t> answers_{0};
  std::atomic<bool> is_over_{false};
  Instant woken_at_{};
  std::thread other_;
};

// One allocation a task, one stack between two threads, one flag to wait for: no order, no error,
// no cancellation, no statistics, no GIL.
class BareQueue {
 public:
  struct Task {
    Task* next = nullptr;
    std::atomic<std::uint32_t> done{0};
    int value = 0;
  };

  BareQueue() : worker_([this] { work(); }) {}
  ~BareQueue() {
    is_over_.store(true);
    delete get(submit());
    worker_.join();
  }
  BareQueue(const BareQueue&) = delete;
  BareQueue& operator=(const BareQueue&) = delete;

  Task* submit() {
    auto* const task = new Task;
    task->next = newest_.load(std::memory_order_relaxed);
    while (!newest_.compare_exchange_weak(task->next, task)) {
    }
    if (is_asleep_.load() != 0 && is_asleep_.exchange(0) != 0) futex_wake(is_asleep_, 1);
    return task;
  }
  static Task* get(Task* task) {
    while (task->done.load(std::memory_order_acquire) != 1) {
      std::uint32_t seen = 0;
      if (task->done.compare_exchange_strong(seen, 2) || seen == 2)
        futex_wait(task->done, 2, nullptr);
    }
    return task;
  }

 private:
  void work() {
    while (!is_over_.load(std::memory_order_relaxed) || newest_.load() != nullptr) {
      run_all(newest_.exchange(nullptr));
      is_asleep_.store(1);
      if (newest_.load() != nullptr || is_over_.load()) {
        is_asleep_.store(0);
        continue;
      }
      futex_wait(is_asleep_, 1, nullptr);
    }
  }
  static void run_all(Task* task) {
    while (task != nullptr) {
      Task* const next = task->next;
      task->value = 1;
      if (task->done.exchange(1, std::memory_order_acq_rel) == 2) futex_wake(task->done, 1);
      task = next;
    }
  }

  std::atomic<Task*> newest_{nullptr};
  std::atomic<std::uint32_t> is_asleep_{0};
  std::atomic<bool> is_over_{false};
  std::thread worker_;
};

// A thread with a queue under a lock, a promise a task, and PyGILState_Ensure() around each.
class PlainWorker {
 public:
  PlainWorker() : worker_([this] { work(); }) {}
  ~PlainWorker() {
    submit(nullptr);
    worker_.join();
  }
  PlainWorker(const PlainWorker&) = delete;
  PlainWorker& operator=(const PlainWorker&) = delete;

  std::future<int> submit(std::function<int()> function) {
    std::promise<int> promise;
    auto outcome = promise.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.emplace_back(std::move(function), std::move(promise));
    }
    filled_.notify_one();
    return outcome;
  }

 private:
  void work() {
    for (;;) {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [this] { return !tasks_.empty(); });
      auto [function, promise] = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      if (!function) return;
      const PyGILState_STATE state = PyGILState_Ensure();
      const int value = function();
      PyGILState_Release(state);
      promise.set_value(value);
    }
  }

  std::mutex mutex_;  // Guards the tasks.
  std::condition_variable filled_;
  std::deque<std::pair<std::function<int()>, std::promise<int>>> tasks_;
  std::thread worker_;
};

}  // namespace unirun::bench
