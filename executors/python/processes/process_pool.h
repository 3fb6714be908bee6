// ProcessPool runs calls in worker processes: one at a time in each, begun when they are first
// needed and kept. One that dies loses the call that it ran and no other; the next call has
// another.
//
// Thread: any; all that happens happens on a thread of its own, with an event loop.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "executors/python/calls/call_runner.h"
#include "executors/python/processes/worker_process.h"
#include "executors/thread/service_thread.h"
#include "framework/clock.h"
#include "framework/event_loop.h"

namespace unirun::python {

class ProcessPool final : public CallRunner {
 public:
  struct Options {
    std::vector<std::string> command;  // Of worker_command().
    Value configuration;               // Of ProcessWorker.
    std::size_t size = 1;
    // Code that is not wanted any more has so long to end, then again after SIGTERM; then SIGKILL.
    Duration grace = std::chrono::milliseconds(500);
  };

  // Errors: unsupported, no thread can be had.
  [[nodiscard]] static Result<std::unique_ptr<ProcessPool>> start(Options options);
  // Answers what is open with `cancelled`; idle processes end by themselves, the others are killed.
  ~ProcessPool() override;

  [[nodiscard]] Cancel run(CallSpec call, OnDone on_done) override;

 private:
  struct Order {
    std::uint64_t id = 0;
    Value call;
    OnDone on_done;
    // Asked for within a function that a process calls, and may wait for.
    bool is_nested = false;
  };
  struct Seat {
    std::unique_ptr<WorkerProcess> process;
    std::uint64_t order = 0;  // That it works at; 0: none.
    TimerId escalation = TimerId::none;
    bool is_leaving = false;
    unsigned called_back = 0;  // It was seen so often, in turn, waiting for us.
  };

  explicit ProcessPool(Options options) : options_(std::move(options)) {}

  // ---- Thread: the pool's own ----
  void live();
  void assign();
  void look_again();
  [[nodiscard]] bool may_add_seat() const;
  void dismiss_if_too_many(Seat& seat);
  [[nodiscard]] Seat* find_seat();
  [[nodiscard]] Result<Seat*> add_seat();
  void begin(Seat& seat, Order order);
  void cancel(std::uint64_t id);
  void escalate(Seat& seat, int signal);
  void on_ended(Seat& seat);
  void close();

  const Options options_;
  SystemClock clock_;
  EventLoop loop_{clock_};
  std::deque<Order> waiting_;
  CallbackThreads callback_threads_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::atomic<std::uint64_t> last_id_{0};
  TimerId look_ = TimerId::none;  // While calls wait for a process.
  bool closing_ = false;
  std::optional<ServiceThread> thread_;
};

}  // namespace unirun::python
