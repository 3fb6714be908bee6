#include "framework/timer_queue.h"

#include <algorithm>
#include <utility>

#include "framework/require.h"

namespace unirun {

bool TimerQueue::fires_later(const Entry& a, const Entry& b) {
  return a.deadline != b.deadline ? a.deadline > b.deadline : a.order > b.order;
}

TimerId TimerQueue::id_of(std::uint32_t slot, std::uint32_t generation) {
  return static_cast<TimerId>((std::uint64_t{generation} << 32) | slot);
}

TimerQueue::Slot* TimerQueue::find(TimerId timer) {
  const auto bits = static_cast<std::uint64_t>(timer);
  const auto index = static_cast<std::uint32_t>(bits);
  if (index >= slots_.size() || slots_[index].generation != bits >> 32) return nullptr;
  return &slots_[index];
}

bool TimerQueue::is_cancelled(const Entry& entry) const {
  return slots_[entry.slot].generation != entry.generation;
}

TimerId TimerQueue::start(Instant deadline, std::function<void()> on_due) {
  UNIRUN_REQUIRE(on_due != nullptr);
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.on_due = std::move(on_due);
  if (deadline != Instant::max()) {  // Which never fires: it needs no place in the row.
    slot.queued = true;
    heap_.push_back({deadline, ++last_order_, index, slot.generation});
    std::push_heap(heap_.begin(), heap_.end(), fires_later);
  }
  return id_of(index, slot.generation);
}

std::function<void()> TimerQueue::release(Slot& slot) {
  if (++slot.generation == 0) slot.generation = 1;
  slot.queued = false;
  free_slots_.push_back(static_cast<std::uint32_t>(&slot - slots_.data()));
  return std::exchange(slot.on_due, nullptr);
}

void TimerQueue::cancel(TimerId timer) {
  Slot* slot = find(timer);
  if (slot == nullptr) return;
  if (slot->queued) ++cancelled_;
  const auto dropped = release(*slot);  // Dies last: what it owns may start or cancel timers.
  sweep();
}

TimerId TimerQueue::take_due(Instant now) {
  if (heap_.empty() || heap_.front().deadline > now) return TimerId::none;
  const Entry first = heap_.front();
  slots_[first.slot].queued = false;
  pop();
  sweep();
  return id_of(first.slot, first.generation);
}

std::function<void()> TimerQueue::claim(TimerId timer) {
  Slot* slot = find(timer);
  return slot == nullptr ? nullptr : release(*slot);
}

void TimerQueue::pop() {
  std::pop_heap(heap_.begin(), heap_.end(), fires_later);
  heap_.pop_back();
}

void TimerQueue::sweep() {
  constexpr std::size_t worth_it = 64;  // Below this a sweep costs more than it frees.
  if (cancelled_ > worth_it && cancelled_ > heap_.size() / 2) {
    heap_.erase(std::remove_if(heap_.begin(), heap_.end(),
                               [this](const Entry& entry) { return is_cancelled(entry); }),
                heap_.end());
    std::make_heap(heap_.begin(), heap_.end(), fires_later);
    cancelled_ = 0;
  }
  // A cancelled timer at the front would wake the loop for nothing.
  while (!heap_.empty() && is_cancelled(heap_.front())) {
    pop();
    --cancelled_;
  }
}

}  // namespace unirun
