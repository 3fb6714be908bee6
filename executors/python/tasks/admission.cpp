#include "executors/python/tasks/admission.h"

#include <algorithm>

namespace unirun::python {

bool Admission::take_places(std::uint32_t count) {
  std::uint64_t entered = entered_.load(std::memory_order_relaxed);
  // Signed: more may have left by now than had entered by then, and the exchange fails.
  const auto is_full = [&](std::uint64_t left) {
    return limit_ != 0 && static_cast<std::int64_t>(entered + count - left) > std::int64_t{limit_};
  };
  do {
    if (!is_full(seen_to_leave_.load(std::memory_order_relaxed))) continue;
    const std::uint64_t left = left_.load();
    if (is_full(left)) return false;
    seen_to_leave_.store(left, std::memory_order_relaxed);
  } while (!entered_.compare_exchange_weak(entered, entered + count));
  return true;
}

bool Admission::try_enter(std::uint32_t count) {
  // Nobody passes those who stand in line.
  return in_line_.load() == 0 && take_places(count);
}

bool Admission::enter(Instant deadline) {
  Waiter waiter;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    // First in the line and then at the door, so that leave() sees one or the other.
    in_line_.fetch_add(1);
    if (line_.empty() && take_places(1)) {
      in_line_.fetch_sub(1);
      return true;
    }
    line_.push_back(&waiter);
  }
  while (waiter.word.load() == waiting) {
    const bool endless = deadline == Instant::max();
    if (futex_wait(waiter.word, waiting, endless ? nullptr : &deadline) != ETIMEDOUT) continue;
    const std::lock_guard lock(mutex_);
    if (waiter.word.load() != waiting) break;
    line_.erase(std::ranges::find(line_, &waiter));
    in_line_.fetch_sub(1);
    return false;
  }
  // Whoever wrote the word still holds the mutex, perhaps, and rings.
  const std::lock_guard lock(mutex_);
  return waiter.word.load() == admitted;
}

void Admission::leave() {
  left_.fetch_add(1);
  if (in_line_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  if (line_.empty() || !take_places(1)) return;
  Waiter* const first = line_.front();
  line_.pop_front();
  in_line_.fetch_sub(1);
  first->word.store(admitted);
  futex_wake_all(first->word);
}

void Admission::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (Waiter* const waiter : line_) {
    waiter->word.store(sent_away);
    futex_wake_all(waiter->word);
  }
  in_line_.fetch_sub(static_cast<std::uint32_t>(line_.size()));
  line_.clear();
}

void Admission::open() {
  const std::lock_guard lock(mutex_);
  closed_ = false;
}

}  // namespace unirun::python
