#include "host/host_handle.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <utility>

#include "framework/event_loop.h"
#include "framework/require.h"
#include "host/host_door.h"
#include "host/requests/request_handler.h"

namespace unirun {
namespace {

Error host_has_ended() { return {Errc::unreachable_host, "the host has ended"}; }

// Answers once: with what it is given, or, when everyone has let go of it, that the host has ended.
class Answer {
 public:
  explicit Answer(HostHandle::Reply reply) : reply_(std::move(reply)) {}
  ~Answer() { give(host_has_ended()); }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  void give(Result<nlohmann::json> result) {
    if (auto reply = std::exchange(reply_, nullptr)) reply(std::move(result));
  }

 private:
  HostHandle::Reply reply_;
};

}  // namespace

struct HostHandle::Gate {
  std::mutex mutex;
  EventLoop* loop = nullptr;          // Null once closed. Guarded by mutex.
  RequestHandler* handler = nullptr;  // The loop's.
  // Those who wait: a command whose end never comes must not leave them waiting. The loop's.
  std::unordered_set<std::shared_ptr<Answer>> waiting;
};

void HostHandle::post(Request request, Reply reply) const {
  auto answer = std::make_shared<Answer>(std::move(reply));
  if (!gate_) return;
  const std::lock_guard lock(gate_->mutex);
  if (!gate_->loop) return;
  gate_->loop->post([gate = gate_, request = std::move(request), answer]() mutable {
    if (!gate->handler) return;
    gate->waiting.insert(answer);
    gate->handler->handle(std::move(request),
                          [gate, weak = std::weak_ptr(answer)](Result<nlohmann::json> result) {
                            const auto held = weak.lock();
                            if (!held) return;
                            gate->waiting.erase(held);
                            held->give(std::move(result));
                          });
  });
}

Result<nlohmann::json> HostHandle::call(Request request, Duration timeout) const {
  struct Waiter {
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result<nlohmann::json>> result;
  };
  if (gate_) {
    const std::lock_guard lock(gate_->mutex);
    UNIRUN_REQUIRE(!gate_->loop || !gate_->loop->in_loop_thread());
  }
  const std::string name = request.name;
  const auto waiter = std::make_shared<Waiter>();
  post(std::move(request), [waiter](Result<nlohmann::json> result) {
    const std::lock_guard lock(waiter->mutex);
    waiter->result = std::move(result);
    waiter->arrived.notify_one();
  });
  std::unique_lock lock(waiter->mutex);
  const auto answered = [&] { return waiter->result.has_value(); };
  if (timeout == Duration::max()) {
    waiter->arrived.wait(lock, answered);
  } else if (!waiter->arrived.wait_for(lock, timeout, answered)) {
    return Error{Errc::timeout,
                 name + " was not done within " + describe_duration(timeout) + "; it goes on"};
  }
  return std::move(*waiter->result);
}

HostDoor::HostDoor(EventLoop& loop) : gate_(std::make_shared<HostHandle::Gate>()) {
  gate_->loop = &loop;
}

HostDoor::~HostDoor() { close(); }

void HostDoor::open(RequestHandler& handler) { gate_->handler = &handler; }

void HostDoor::close() {
  {
    const std::lock_guard lock(gate_->mutex);
    gate_->loop = nullptr;
  }
  gate_->handler = nullptr;
  const auto waiting = std::exchange(gate_->waiting, {});  // They are answered as they go.
}

HostHandle HostDoor::handle() const { return HostHandle(gate_); }

}  // namespace unirun
