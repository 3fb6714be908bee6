// Service is what runs inside this process, whatever it is written in: C++ directly, Python by way
// of python_bindings/. An executor makes one per life and calls, in this order:
//
//   prepare()                   on a thread that may block, if needs_preparation(); what it throws
//                               is a failed start
//   run() or run_async()        on a thread of its own, or as a coroutine on the loop
//
// and reads the exit reason off how that ends:
//   returns                            normal, or shutdown where a stop had been requested
//   throws Cancelled after a request   shutdown
//   throws ServiceEnded                the reason that it carries
//   throws Declined                    OTP's `ignore`
//   throws anything else               exception
//
// A service owns nothing of the context; the context outlives run() and run_async().

#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "framework/cancellation.h"
#include "framework/event.h"
#include "framework/exit_reason.h"
#include "framework/task.h"

namespace unirun {

class EventLoop;
class EventQueue;
class EventKinds;

// What a running service holds of the house. Thread: any, as long as the service runs.
class ServiceContext {
 public:
  virtual ~ServiceContext() = default;

  [[nodiscard]] virtual const std::string& id() const = 0;    // "ingest-2": unique among siblings
  [[nodiscard]] virtual const std::string& path() const = 0;  // "pipeline/ingest-2"

  // Which of `instances` it is, from 1; nothing where there is but one.
  [[nodiscard]] virtual std::optional<unsigned> instance() const { return std::nullopt; }

  // The child spec's "config".
  [[nodiscard]] virtual const nlohmann::json& config() const = 0;

  // Asks to stop. Look at it, wait on it in place of sleeping, or register a callback.
  [[nodiscard]] virtual CancellationToken cancellation() const = 0;

  // Says that the service can serve. The first call counts.
  virtual void ready() = 0;

  // Says that it still lives, where a heartbeat is asked of it. Cheap: call it often.
  virtual void heartbeat() = 0;

  // One line for people about what it is doing: shown beside its state.
  virtual void status(std::string_view text) = 0;

  // A structured record among the events; `run` is filled in.
  virtual void log(ServiceLog record) = 0;

  // Adds to a counter of this service, or sets a gauge of it; both reach the host's metrics.
  virtual void count(std::string_view counter, double by) = 0;
  virtual void gauge(std::string_view gauge, double value) = 0;

  // Everything of these kinds that happens in the host, for one reading thread. What a slow reader
  // misses is counted (EventQueue::dropped).
  [[nodiscard]] virtual std::shared_ptr<EventQueue> open_events(EventKinds kinds,
                                                                std::size_t capacity) = 0;

  // Keeps this beyond the run, for a call that may outlast it; empty where nobody can.
  [[nodiscard]] virtual std::shared_ptr<ServiceContext> keep() { return {}; }

  // The loop that run_async() runs on: for timers, posts and watches.
  [[nodiscard]] virtual EventLoop& loop() = 0;
};

class Service {
 public:
  virtual ~Service() = default;

  // What takes time before it can run (an import, a file): off the loop, before run().
  [[nodiscard]] virtual bool needs_preparation() const { return false; }
  virtual void prepare() {}

  // Override one of the two. By default run() drives run_async() on a loop of its own, and
  // run_async() throws ServiceEnded with start_failed: what only blocks has no place on the loop.
  virtual void run(ServiceContext& context);
  virtual Task<> run_async(ServiceContext& context);

  // Cancellation was ignored for as long as it may be: ends run() or run_async() by force where the
  // language has a way (Python: an exception raised in its thread, which must never strike what
  // that thread does next). May be called more than once. Thread: for run() any but its own; for
  // run_async() the loop's, and the loop's watchdog while the service keeps the loop busy.
  virtual void interrupt() {}

  // Does something of run_async() live on when its coroutine is destroyed where it waits (Python:
  // an asyncio task)? Then a kill interrupts it, and it is given up as stuck if that does not help;
  // a coroutine that is all there is gets destroyed.
  [[nodiscard]] virtual bool survives_its_coroutine() const { return false; }

  // Where the service stands right now, in text; empty where nobody can tell. May wait for what a
  // service that blocks holds. Thread: any but run()'s; also when the service has just ended.
  [[nodiscard]] virtual std::string stack() const { return {}; }
};

// Leaves run() or run_async() to say how the service ended: Python's exceptions come this way.
class ServiceEnded : public std::exception {
 public:
  explicit ServiceEnded(ExitReason reason)
      : reason_(std::make_shared<const ExitReason>(std::move(reason))),
        text_(reason_->describe()) {}

  [[nodiscard]] const ExitReason& reason() const { return *reason_; }
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::shared_ptr<const ExitReason> reason_;
  std::string text_;
};

// Leaves run() or run_async() before ready(): the service declines to run here, and that is no
// fault.
class Declined : public std::exception {
 public:
  [[nodiscard]] const char* what() const noexcept override { return "the service declined to run"; }
};

}  // namespace unirun
