// Who waits for whom: each thread that waits for a task says so as long as it does, for whoever
// asks which chain of them stands still.
//
// Thread: any. A mark belongs to the thread that made it.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "executors/python/tasks/statistics.h"
#include "executors/python/tasks/task_state.h"

namespace unirun::python {

class NativeFrame;
struct WaitingThread;

// What the thread that waits next waits for, in words: "call", "shop.orders", "find". What it
// refers to outlives it.
class WaitLabel {
 public:
  explicit WaitLabel(std::string_view what, std::string_view module = {},
                     std::string_view function = {});
  ~WaitLabel();
  WaitLabel(const WaitLabel&) = delete;
  WaitLabel& operator=(const WaitLabel&) = delete;

  [[nodiscard]] std::string text() const;

 private:
  friend class WaitMark;
  const std::string_view what_;
  const std::string_view module_;
  const std::string_view function_;
};

// This thread waits for `awaited`, as long as the mark lives.
class WaitMark {
 public:
  explicit WaitMark(TaskState& awaited);
  ~WaitMark();
  WaitMark(const WaitMark&) = delete;
  WaitMark& operator=(const WaitMark&) = delete;

  // It runs `task` meanwhile, on top of what waits; null: no more.
  void serve(TaskState* task);

 private:
  friend std::vector<WaitChain> waiting_chains();
  friend void forget_waits();
  friend bool is_held_up_by(const TaskState& awaited, const std::vector<Shared<TaskState>>& tasks);
  struct Seen;
  [[nodiscard]] Seen look() const;

  TaskState& awaited_;
  TaskState* const waiter_;         // That runs on this thread; null: none of ours.
  const NativeFrame* const frame_;  // In which it waits; null: none, or one that waits itself.
  const WaitLabel* const label_;
  const WaitingThread& thread_;
  TaskState* served_ = nullptr;
  WaitMark* const outer_;     // Of this thread.
  WaitMark* next_ = nullptr;  // Of all.
  WaitMark* previous_ = nullptr;
};

// In a child of fork(): no other thread waits.
void forget_waits();

// Whether what is awaited comes only after one of `tasks` has ended: it is the end of a context of
// which one of them is a task, or of which a task waits for one of them, by however many others.
[[nodiscard]] bool is_held_up_by(const TaskState& awaited,
                                 const std::vector<Shared<TaskState>>& tasks);

// Of this moment, the longest waits first.
[[nodiscard]] std::vector<WaitChain> waiting_chains();

}  // namespace unirun::python
