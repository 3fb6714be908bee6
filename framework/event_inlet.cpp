#include "framework/event_inlet.h"

#include <mutex>
#include <utility>
#include <vector>

#include "framework/require.h"

namespace unirun {

struct EventInlet::State : std::enable_shared_from_this<State> {
  using Chunk = std::vector<Event>;
  static constexpr std::size_t chunk_size = 64;   // About 20 KiB: off malloc's slow path.
  static constexpr std::size_t kept_chunks = 16;  // What an idle inlet keeps of a burst.

  EventBus* bus;  // Nothing once the inlet is gone. The loop's.
  EventLoop& loop;
  const std::size_t capacity;
  const std::string name;

  std::mutex mutex;
  std::vector<Chunk> chunks;  // Guarded by `mutex`, as are the next four.
  std::vector<Chunk> spare;
  std::size_t size = 0;
  std::uint64_t dropped = 0;
  bool awake = false;  // The loop is coming, without being called.

  State(EventBus& a_bus, EventLoop& a_loop, std::size_t a_capacity, std::string a_name)
      : bus(&a_bus), loop(a_loop), capacity(a_capacity), name(std::move(a_name)) {}

  bool push(std::string&& path, EventPayload&& payload);
  Chunk new_chunk();
  void wake();
  void drain(std::unique_lock<std::mutex> lock);
};

EventInlet::State::Chunk EventInlet::State::new_chunk() {
  Chunk chunk;
  if (spare.empty()) {
    chunk.reserve(chunk_size);
  } else {
    chunk = std::move(spare.back());
    spare.pop_back();
  }
  return chunk;
}

bool EventInlet::State::push(std::string&& path, EventPayload&& payload) {
  {
    const std::lock_guard lock(mutex);
    if (size == capacity) {
      ++dropped;
      return false;
    }
    if (size % chunk_size == 0) chunks.push_back(new_chunk());
    chunks.back().push_back({0, {}, {}, std::move(path), std::move(payload)});
    ++size;
    if (std::exchange(awake, true)) return true;
  }
  wake();
  return true;
}

void EventInlet::State::wake() {
  loop.post([self = shared_from_this()] {
    std::unique_lock lock(self->mutex, std::try_to_lock);
    if (!lock) return self->wake();
    self->drain(std::move(lock));
  });
}

void EventInlet::State::drain(std::unique_lock<std::mutex> lock) {
  if (bus == nullptr) return;
  std::vector<Chunk> taken = std::exchange(chunks, {});
  const std::uint64_t lost = std::exchange(dropped, 0);
  size = 0;
  awake = !taken.empty();
  lock.unlock();
  if (taken.empty()) return;
  // Look again in the next turn, and sleep only when nothing has come: a burst gathers meanwhile,
  // and its publishers make no system call.
  wake();

  for (Chunk& chunk : taken) {
    bus->publish_all(chunk);
    chunk.clear();
  }
  if (lost > 0) {
    bus->publish("", Warning{"inlet \"" + name + "\" was full: " + std::to_string(lost) +
                             " events from other threads were dropped"});
  }
  // Give back only if that needs no waiting; it is a matter of speed alone.
  if (lock.try_lock()) {
    while (!taken.empty() && spare.size() < kept_chunks) {
      spare.push_back(std::move(taken.back()));
      taken.pop_back();
    }
    lock.unlock();
  }
}

EventInlet::EventInlet(EventBus& bus, EventLoop& loop, std::size_t capacity, std::string name)
    : state_(std::make_shared<State>(bus, loop, capacity, std::move(name))) {
  UNIRUN_REQUIRE(capacity > 0);
}

EventInlet::~EventInlet() {
  state_->drain(std::unique_lock(state_->mutex));
  state_->bus = nullptr;
}

bool EventInlet::publish(std::string path, EventPayload payload) {
  UNIRUN_REQUIRE(payload.index() != 0);
  if (!state_->bus->wants(kind_of(payload))) return true;
  return state_->push(std::move(path), std::move(payload));
}

}  // namespace unirun
