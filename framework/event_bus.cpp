#include "framework/event_bus.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <mutex>
#include <utility>

#include "framework/doorbell.h"
#include "framework/event_size.h"
#include "framework/inbox.h"
#include "framework/require.h"

namespace unirun {
namespace {

using SharedEvent = std::shared_ptr<const Event>;

// The bus pushes, one other thread takes; neither ever waits for the other.
class BoundedQueue final : public EventQueue {
 public:
  enum class Push : std::uint8_t { taken, first_drop, dropped, closed };

  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // One event is taken however large. Thread: one at a time.
  Push push(SharedEvent event) {
    if (closed()) return Push::closed;
    const std::size_t size = size_.load(std::memory_order_acquire);
    if (size == 0) drop_told_ = false;
    const std::size_t bytes = size_in_bytes(*event);
    const std::size_t held = bytes_.load(std::memory_order_relaxed);
    if (size >= capacity_ || (size > 0 && held + bytes > bytes_for(capacity_))) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return std::exchange(drop_told_, true) ? Push::dropped : Push::first_drop;
    }
    size_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    if (inbox_.push(std::move(event))) bell_.ring();
    return Push::taken;
  }

  Batch take(Duration timeout) override {
    Batch batch;
    bell_.wait(timeout, [&] {
      const bool last = closed();  // Asked first: what came before the end is still taken.
      inbox_.drain([&](SharedEvent&& event) { batch.push_back(std::move(event)); });
      return last || !batch.empty();
    });
    std::size_t bytes = 0;
    for (const SharedEvent& event : batch) bytes += size_in_bytes(*event);
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    size_.fetch_sub(batch.size(), std::memory_order_release);
    return batch;
  }

  std::uint64_t dropped() const override { return dropped_.load(std::memory_order_relaxed); }
  bool closed() const override { return closed_.load(std::memory_order_acquire); }
  void close() override {
    closed_.store(true, std::memory_order_release);
    bell_.ring();
  }

 private:
  const std::size_t capacity_;
  Inbox<SharedEvent> inbox_;
  std::atomic<std::size_t> size_{0};
  std::atomic<std::size_t> bytes_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<bool> closed_{false};
  Doorbell bell_;
  bool drop_told_ = false;  // The pusher's.
};

struct Registered {
  std::uint64_t id;  // Not the address: that of one who threw may be another's by now.
  EventBus::Observer observer;
  std::string name;
  std::shared_ptr<BoundedQueue> queue;  // Or nothing, for one on the loop.
};

}  // namespace

struct EventBus::Impl {
  // What delivery walks over: a mask and a pointer, four to a cache line.
  struct Row {
    std::uint64_t kinds;  // Zero once its observer is gone.
    std::unique_ptr<Registered> registered;
  };

  EventBus& bus;
  const Clock& clock;

  // Held by the loop while it delivers or changes what follows, and by publish_past_loop(). The
  // loop alone knows that it holds it: `delivering`.
  std::mutex mutex;
  std::vector<Row> rows;        // Only grows while an event is delivered; swept afterwards.
  std::deque<Event> postponed;  // By publish_past_loop(), for the callbacks.
  std::uint64_t last_id = 0;
  std::uint64_t queued_kinds = 0;
  std::deque<Event> waiting;  // Published from within observers.
  SharedEvent shared;         // The present event, if a queue wants it.
  bool delivering = false;
  bool sweep_needed = false;

  // A subscription may outlive its bus: it then finds this gone.
  std::shared_ptr<Impl*> live = std::make_shared<Impl*>(this);

  Impl(EventBus& a_bus, const Clock& a_clock) : bus(a_bus), clock(a_clock) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::uint64_t add(EventKinds kinds, Observer observer, std::string name,
                    std::shared_ptr<BoundedQueue> queue);
  void remove(std::uint64_t id);
  void remove(Row& row);
  std::vector<Row> sweep();
  void count_wanted();
  std::unique_lock<std::mutex> hold();
  void publish(Event&& event, Instant at, WallTime wall);
  bool publish_past_loop(Event event);
  template <class Deliver>
  void tell(Deliver first);
  void number(Event& event, Instant at, WallTime wall);
  void deliver_postponed();
  void deliver(Event& event);
  void deliver_to(Row& row, const Event& event);
  void enqueue(Row& row);
};

EventBus::Impl::~Impl() {
  live.reset();
  for (const Row& row : rows) {
    if (row.registered->queue) row.registered->queue->close();
  }
  bus.wanted_ = 0;
  std::exchange(rows, {});  // What observers own may unsubscribe as it dies.
}

std::unique_lock<std::mutex> EventBus::Impl::hold() {
  return delivering ? std::unique_lock<std::mutex>() : std::unique_lock(mutex);
}

std::uint64_t EventBus::Impl::add(EventKinds kinds, Observer observer, std::string name,
                                  std::shared_ptr<BoundedQueue> queue) {
  const auto held = hold();
  rows.push_back(
      {kinds.bits(), std::make_unique<Registered>(Registered{++last_id, std::move(observer),
                                                             std::move(name), std::move(queue)})});
  count_wanted();
  return last_id;
}

void EventBus::Impl::remove(std::uint64_t id) {
  std::vector<Row> gone;  // Dies when nothing is held: what observers own may come back here.
  const auto held = hold();
  const auto row = std::find_if(rows.begin(), rows.end(), [id](const Row& candidate) {
    return candidate.registered->id == id;
  });
  if (row == rows.end()) return;
  remove(*row);
  if (!delivering) gone = sweep();
}

// Silent at once; its memory goes when nothing is being delivered, for it may be running.
void EventBus::Impl::remove(Row& row) {
  row.kinds = 0;
  sweep_needed = true;
}

std::vector<EventBus::Impl::Row> EventBus::Impl::sweep() {
  std::vector<Row> gone;
  if (!std::exchange(sweep_needed, false)) return gone;
  const auto first_gone = std::stable_partition(rows.begin(), rows.end(),
                                                [](const Row& row) { return row.kinds != 0; });
  std::move(first_gone, rows.end(), std::back_inserter(gone));
  rows.erase(first_gone, rows.end());
  count_wanted();
  return gone;
}

void EventBus::Impl::count_wanted() {
  std::uint64_t wanted = 0;
  queued_kinds = 0;
  for (const Row& row : rows) {
    wanted |= row.kinds;
    if (row.registered->queue) queued_kinds |= row.kinds;
  }
  bus.wanted_.store(wanted, std::memory_order_relaxed);
}

void EventBus::Impl::number(Event& event, Instant at, WallTime wall) {
  event.sequence = bus.sequence_.load(std::memory_order_relaxed) + 1;
  bus.sequence_.store(event.sequence, std::memory_order_relaxed);
  event.at = at;
  event.wall = wall;
}

// What waited first, then `first`, then what observers publish meanwhile.
template <class Deliver>
void EventBus::Impl::tell(Deliver first) {
  std::vector<Row> gone;  // As in remove().
  const std::lock_guard held(mutex);
  delivering = true;
  deliver_postponed();
  first();
  while (!waiting.empty()) {
    Event next = std::move(waiting.front());
    waiting.pop_front();
    deliver(next);
  }
  delivering = false;
  gone = sweep();
}

void EventBus::Impl::publish(Event&& event, Instant at, WallTime wall) {
  if (delivering) {
    number(event, at, wall);
    waiting.push_back(std::move(event));
    return;
  }
  tell([&] {
    number(event, at, wall);
    deliver(event);
  });
}

bool EventBus::Impl::publish_past_loop(Event event) {
  const std::unique_lock held(mutex, std::try_to_lock);
  if (!held.owns_lock()) return false;
  number(event, clock.now(), clock.wall_now());
  const std::uint64_t kind = EventKinds(event.kind()).bits();
  const auto told = std::make_shared<const Event>(event);
  for (const Row& row : rows) {
    // What is dropped or closed the loop finds out with its next event.
    if (row.registered->queue && (row.kinds & kind) != 0) row.registered->queue->push(told);
  }
  postponed.push_back(std::move(event));
  return true;
}

// To the callbacks: the queues have had it.
void EventBus::Impl::deliver_postponed() {
  for (; !postponed.empty(); postponed.pop_front()) {
    const std::uint64_t kind = EventKinds(postponed.front().kind()).bits();
    const std::size_t count = rows.size();
    for (std::size_t i = 0; i < count; ++i) {
      if (rows[i].registered->queue || (rows[i].kinds & kind) == 0) continue;
      deliver_to(rows[i], postponed.front());
    }
  }
}

void EventBus::Impl::deliver(Event& event) {
  const std::uint64_t kind = EventKinds(event.kind()).bits();
  const std::size_t count = rows.size();  // Who subscribes meanwhile gets the next one.
  const auto to_each = [&](const Event& delivered) {
    for (std::size_t i = 0; i < count; ++i) {
      if ((rows[i].kinds & kind) != 0) deliver_to(rows[i], delivered);
    }
  };
  if ((queued_kinds & kind) == 0) return to_each(event);
  shared = std::make_shared<const Event>(std::move(event));
  to_each(*shared);
  shared.reset();
}

void EventBus::Impl::deliver_to(Row& row, const Event& event) {
  Registered& registered = *row.registered;  // The row itself may move while the observer runs.
  try {
    if (registered.observer) return registered.observer(event);
    return enqueue(row);
  } catch (const std::exception& error) {
    remove(registered.id);
    bus.publish("", Warning{"observer \"" + registered.name + "\" was taken off: it threw " +
                            error.what()});
  } catch (...) {
    remove(registered.id);
    bus.publish("", Warning{"observer \"" + registered.name + "\" was taken off: it threw"});
  }
}

void EventBus::Impl::enqueue(Row& row) {
  const Registered& registered = *row.registered;
  switch (registered.queue->push(shared)) {
    case BoundedQueue::Push::taken: return;
    case BoundedQueue::Push::dropped: ++bus.dropped_; return;
    case BoundedQueue::Push::closed: return remove(row);
    case BoundedQueue::Push::first_drop:
      ++bus.dropped_;
      return bus.publish("", ObserverDropped{registered.name, registered.queue->dropped()});
  }
}

EventBus::EventBus(const Clock& clock) : impl_(std::make_unique<Impl>(*this, clock)) {}
EventBus::~EventBus() = default;

void EventBus::publish(std::string path, EventPayload payload) {
  UNIRUN_REQUIRE(payload.index() != 0);
  if (!wants(kind_of(payload))) return;
  impl_->publish(Event{0, {}, {}, std::move(path), std::move(payload)}, impl_->clock.now(),
                 impl_->clock.wall_now());
}

bool EventBus::publish_past_loop(std::string path, EventPayload payload) {
  UNIRUN_REQUIRE(payload.index() != 0);
  if (!wants(kind_of(payload))) return true;
  return impl_->publish_past_loop(Event{0, {}, {}, std::move(path), std::move(payload)});
}

void EventBus::tell_postponed() {
  if (!impl_->delivering) impl_->tell([] {});  // Else it is being done.
}

void EventBus::publish_all(std::vector<Event>& events) {
  const Instant at = impl_->clock.now();
  const WallTime wall = impl_->clock.wall_now();
  for (Event& event : events) {
    UNIRUN_REQUIRE(event.payload.index() != 0);
    if (wants(event.kind())) impl_->publish(std::move(event), at, wall);
  }
}

Subscription EventBus::subscribe(EventKinds kinds, Observer observer, std::string name) {
  UNIRUN_REQUIRE(observer != nullptr);
  const std::uint64_t id = impl_->add(kinds, std::move(observer), std::move(name), nullptr);
  return Subscription([id, weak = std::weak_ptr<Impl*>(impl_->live)] {
    if (const auto impl = weak.lock()) (*impl)->remove(id);
  });
}

std::shared_ptr<EventQueue> EventBus::open_queue(EventKinds kinds, std::size_t capacity,
                                                 std::string name) {
  UNIRUN_REQUIRE(capacity > 0);
  auto queue = std::make_shared<BoundedQueue>(capacity);
  impl_->add(kinds, nullptr, std::move(name), queue);
  BoundedQueue* raw = queue.get();
  // The bus holds the queue too: whoever lets go of it here wants no more events.
  return {raw, [queue = std::move(queue)](EventQueue* let_go) { let_go->close(); }};
}

void EventBus::continue_after(std::uint64_t sequence) {
  UNIRUN_REQUIRE(last_sequence() == 0);
  sequence_.store(sequence, std::memory_order_relaxed);
}

}  // namespace unirun
