// TimerQueue holds pending timers in the order in which they are to fire: by deadline, and among
// equal deadlines by their start. A heap; starting and firing cost O(log n). Cancelling only marks,
// and the marked are swept out once they are the majority, so that memory follows the timers that
// are alive.
//
// Thread: its owner's. Owns the functions of pending timers. Knows no clock.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "framework/timers.h"

namespace unirun {

class TimerQueue {
 public:
  // An id is not used again before 2^32 others have had its place. REQUIRES: a function.
  [[nodiscard]] TimerId start(Instant deadline, std::function<void()> on_due);

  // The function is gone when this returns. Unknown ids are ignored.
  void cancel(TimerId timer);

  // Takes the first timer off if its deadline is at most `now`, else TimerId::none. What was taken
  // can still be cancelled until it is claimed: that is how one due timer cancels another.
  [[nodiscard]] TimerId take_due(Instant now);

  // The function of a timer that was taken; empty if it has been cancelled since.
  [[nodiscard]] std::function<void()> claim(TimerId timer);

  // Instant::max() if nothing is pending.
  [[nodiscard]] Instant next_deadline() const {
    return heap_.empty() ? Instant::max() : heap_.front().deadline;
  }

  // Timers that wait for their deadline.
  [[nodiscard]] std::size_t size() const { return heap_.size() - cancelled_; }

  // Places held in memory, free and cancelled ones included. For tests.
  [[nodiscard]] std::size_t capacity() const { return heap_.capacity() + slots_.capacity(); }

 private:
  struct Entry {
    Instant deadline;
    std::uint64_t order;  // Of starting.
    std::uint32_t slot;
    std::uint32_t generation;
  };
  struct Slot {
    std::function<void()> on_due;
    std::uint32_t generation = 1;  // Of the timer that lives here; 0 never occurs.
    bool queued = false;           // Has an entry in the heap.
  };

  static bool fires_later(const Entry& a, const Entry& b);
  static TimerId id_of(std::uint32_t slot, std::uint32_t generation);
  [[nodiscard]] Slot* find(TimerId timer);
  [[nodiscard]] bool is_cancelled(const Entry& entry) const;
  std::function<void()> release(Slot& slot);
  void pop();
  void sweep();

  std::vector<Entry> heap_;  // Its first is never a cancelled one.
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::uint64_t last_order_ = 0;
  std::size_t cancelled_ = 0;  // Entries of the heap whose timer is gone.
};

}  // namespace unirun
