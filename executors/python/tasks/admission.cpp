#include "executors/python/tasks/admission.h"

#include <algorithm>

namespace unirun::python {

bool Admission::take_place() {
  std::uint32_t inside = inside_.load(std::memory_order_relaxed);
  while (limit_ == 0 || inside < limit_) {
    if (inside_.compare_exchange_weak(inside, inside + 1)) return true;
  }
  return false;
}

bool Admission::try_enter() {
  // Nobody passes those who stand in line.
  return in_line_.load() == 0 && take_place();
}

bool Admission::enter(Instant deadline) {
  Waiter waiter;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    // First in the line and then at the door, so that leave() sees one or the other.
    in_line_.fetch_add(1);
    if (line_.empty() && take_place()) {
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
  inside_.fetch_sub(1);
  if (in_line_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  if (line_.empty() || !take_place()) return;
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
