#include "executors/in_process/in_process_context.h"

#include <fmt/format.h>

#include <utility>

namespace unirun {

InProcessContext::InProcessContext(std::shared_ptr<InProcessWorld> world, Launch launch,
                                   Listener& listener)
    : world_(std::move(world)), launch_(std::move(launch)), listener_(&listener) {}

void InProcessContext::sever() {
  severed_.store(true, std::memory_order_relaxed);
  listener_ = nullptr;
}

template <class Hear>
void InProcessContext::tell(Hear hear) {
  world_->gate.post([self = shared_from_this(), hear = std::move(hear)]() mutable {
    if (self->listener_ != nullptr) hear(*self->listener_);
  });
}

void InProcessContext::ready() {
  if (said_ready_.exchange(true, std::memory_order_relaxed)) return;
  tell([](Listener& listener) { listener.on_ready_said(); });
}

void InProcessContext::heartbeat() {
  const SystemClock clock;  // Not the loop's, which may be gone.
  last_heartbeat_.store(clock.now().time_since_epoch().count(), std::memory_order_relaxed);
}

// One that talks faster than the loop listens must not fill the memory.
bool InProcessContext::may_record() {
  if (severed_.load(std::memory_order_relaxed)) return false;
  if (records_waiting_.fetch_add(1, std::memory_order_relaxed) < most_records) return true;
  records_waiting_.fetch_sub(1, std::memory_order_relaxed);
  records_dropped_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void InProcessContext::record_taken() {
  records_waiting_.fetch_sub(1, std::memory_order_relaxed);
  const std::uint32_t dropped = records_dropped_.exchange(0, std::memory_order_relaxed);
  if (dropped == 0) return;
  world_->bus.publish(path(),
                      Warning{fmt::format("{} log records and status texts came faster than they "
                                          "could be taken, and were dropped",
                                          dropped)});
}

void InProcessContext::status(std::string_view text) {
  if (!may_record()) return;
  tell([this, text = std::string(text)](Listener& listener) mutable {
    listener.on_status(std::move(text));
    record_taken();
  });
}

void InProcessContext::log(ServiceLog record) {
  if (!may_record()) return;
  record.run = launch_.run;
  tell([this, record = std::move(record)](Listener& listener) mutable {
    listener.on_log(std::move(record));
    record_taken();
  });
}

void InProcessContext::count(std::string_view counter, double by) {
  if (world_->metrics == nullptr || severed_.load(std::memory_order_relaxed)) return;
  world_->gate.pass([&] { world_->metrics->count(path(), counter, by); });
}

void InProcessContext::gauge(std::string_view gauge, double value) {
  if (world_->metrics == nullptr || severed_.load(std::memory_order_relaxed)) return;
  world_->gate.pass([&] { world_->metrics->gauge(path(), launch_.run, gauge, value); });
}

std::shared_ptr<EventQueue> InProcessContext::open_events(EventKinds kinds, std::size_t capacity) {
  const auto open = [this, kinds, capacity] {
    return world_->bus.open_queue(kinds, capacity, path());
  };
  bool here = false;
  const bool reached = world_->gate.pass([&] { here = world_->loop.in_loop_thread(); });
  if (here) return open();
  if (!reached) throw Cancelled();
  // The loop may never turn again: its thread may be waiting for this one to end.
  const auto queue = std::make_shared<std::shared_ptr<EventQueue>>();
  const bool called = world_->gate.call([self = shared_from_this(), queue, open] {
    if (self->listener_ != nullptr) *queue = open();
  });
  if (!called || *queue == nullptr) throw Cancelled();
  return *std::move(queue);
}

}  // namespace unirun
