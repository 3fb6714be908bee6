#include "python_bindings/loop/timer_heap.h"

#include <algorithm>
#include <limits>

#include "python_bindings/loop/handle.h"

namespace unirun::bindings {

void TimerHeap::push(double when, Reference handle) {
  sweep();
  set_scheduled(handle.get(), true);
  heap_.push_back({when, ++last_order_, std::move(handle)});
  std::push_heap(heap_.begin(), heap_.end(), fires_later);
}

Reference TimerHeap::pop() {
  std::pop_heap(heap_.begin(), heap_.end(), fires_later);
  Reference handle = std::move(heap_.back().handle);
  heap_.pop_back();
  set_scheduled(handle.get(), false);
  return handle;
}

double TimerHeap::next() {
  while (!heap_.empty() && is_cancelled(heap_.front().handle.get())) {
    const Reference dropped = pop();
    --cancelled_;
  }
  return heap_.empty() ? std::numeric_limits<double>::infinity() : heap_.front().when;
}

Reference TimerHeap::take_due(double now) { return next() <= now ? pop() : Reference{}; }

void TimerHeap::sweep() {
  constexpr std::size_t worth_it = 100;  // As in asyncio.
  if (cancelled_ <= worth_it || cancelled_ <= heap_.size() / 2) return;
  const auto first_dead = std::partition(heap_.begin(), heap_.end(), [](const Entry& entry) {
    return !is_cancelled(entry.handle.get());
  });
  std::vector<Entry> dead(std::make_move_iterator(first_dead),
                          std::make_move_iterator(heap_.end()));
  heap_.erase(first_dead, heap_.end());
  std::make_heap(heap_.begin(), heap_.end(), fires_later);
  cancelled_ = 0;
  for (const Entry& entry : dead) set_scheduled(entry.handle.get(), false);
}

void TimerHeap::clear() {
  cancelled_ = 0;
  const std::vector<Entry> dropped = std::exchange(heap_, {});
  for (const Entry& entry : dropped) set_scheduled(entry.handle.get(), false);
}

int TimerHeap::traverse(visitproc visit, void* arg) const {
  for (const Entry& entry : heap_) Py_VISIT(entry.handle.get());
  return 0;
}

}  // namespace unirun::bindings
