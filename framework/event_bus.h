// EventBus carries events to whoever observes. Publishing is for the loop thread (others use an
// EventInlet); observing is for anyone: on the loop by a callback, on another thread through a
// bounded EventQueue.
//
// - An event that nobody observes costs one load and a branch: ask wants() before building it. It
//   takes no number either: the sequence counts what was observed, so that an observer of all kinds
//   (the journal) sees every number once, and a gap means a dropped event and nothing else.
// - A callback that throws is taken off, and a Warning says so; the others still get the event.
// - A queue that is full drops its newest event and counts it; publishing never waits. The first
//   drop is told by ObserverDropped, the next ones only after the queue has been emptied.
//
// The bus must outlive nothing: subscriptions and queues may live longer, they just fall silent.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/clock.h"
#include "framework/event.h"
#include "framework/event_queue.h"
#include "framework/registration.h"

namespace unirun {

// A set of kinds, one bit each.
class EventKinds {
 public:
  constexpr EventKinds() = default;
  constexpr EventKinds(EventKind kind) : bits_(bit(kind)) {}  // NOLINT: a kind is a set of one
  [[nodiscard]] static constexpr EventKinds all() { return EventKinds(~std::uint64_t{0}); }
  [[nodiscard]] constexpr bool has(EventKind kind) const { return (bits_ & bit(kind)) != 0; }
  [[nodiscard]] constexpr std::uint64_t bits() const { return bits_; }
  friend constexpr EventKinds operator|(EventKinds a, EventKinds b) {
    return EventKinds(a.bits_ | b.bits_);
  }

 private:
  constexpr explicit EventKinds(std::uint64_t bits) : bits_(bits) {}
  static constexpr std::uint64_t bit(EventKind kind) {
    return std::uint64_t{1} << static_cast<unsigned>(kind);
  }
  std::uint64_t bits_ = 0;
};

// After its end the callback is not called any more. Thread: the loop's.
using Subscription = Registration;

class EventBus {
 public:
  using Observer = std::function<void(const Event&)>;

  explicit EventBus(const Clock& clock);
  ~EventBus();
  EventBus(const EventBus&) = delete;
  EventBus& operator=(const EventBus&) = delete;

  // Is there an observer for this kind? Thread: any.
  [[nodiscard]] bool wants(EventKind kind) const {
    return (wanted_.load(std::memory_order_relaxed) & EventKinds(kind).bits()) != 0;
  }

  // Numbers and stamps the event, then hands it to its observers in the order of their
  // subscription. An event published from within an observer is delivered after the present one.
  // Thread: the loop's.
  void publish(std::string path, EventPayload payload);

  // For a thread that watches over the loop while that is blocked: numbers and stamps the event and
  // hands it to the queues, here and now. Callbacks on the loop hear it before the loop's next
  // event, or by tell_postponed(). False if the loop is in the middle of telling an event itself:
  // then nothing has happened. Thread: any but the loop's.
  [[nodiscard]] bool publish_past_loop(std::string path, EventPayload payload);

  // Tells the callbacks what publish_past_loop() left to them. Thread: the loop's.
  void tell_postponed();

  // publish() for many whose path and payload are set; all get one and the same time. Leaves them
  // in a valid state, worth nothing. Thread: the loop's.
  void publish_all(std::vector<Event>& events);

  // `observer` is called on the loop thread, for every event of `kinds`, after the publisher's
  // state is already true. It may subscribe, unsubscribe and publish. `name` stands in warnings.
  [[nodiscard]] Subscription subscribe(EventKinds kinds, Observer observer,
                                       std::string name = "observer");

  // Holds at most `capacity` events, and 1 MiB and a KiB each. Letting the pointer go closes the
  // queue. Thread: the loop's for opening; see EventQueue for the rest. REQUIRES: capacity > 0.
  [[nodiscard]] std::shared_ptr<EventQueue> open_queue(EventKinds kinds, std::size_t capacity,
                                                       std::string name = "queue");

  // The sequence number of the last event.
  [[nodiscard]] std::uint64_t last_sequence() const {
    return sequence_.load(std::memory_order_relaxed);
  }

  // Events that did not fit into some queue, over all queues that ever were.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

  // Continues a sequence that an earlier host left in its journal. REQUIRES: nothing published yet.
  void continue_after(std::uint64_t sequence);

 private:
  struct Impl;

  std::atomic<std::uint64_t> wanted_{0};
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<std::uint64_t> dropped_{0};
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
