// ServiceLink is the ServiceContext of a service inside this process as Python holds it: what
// unirun.ServiceContext stands on there. A service may keep it beyond its end; it then does
// nothing.
//
// Thread: any with the GIL, which guards it.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "framework/loop_seat.h"
#include "framework/service.h"
#include "framework/waiter.h"

namespace unirun::bindings {

// Whether, and in which thread, Python code of a service runs now. The GIL guards it.
struct RunningThread {
  bool is_running = false;
  unsigned long id = 0;
};

class ServiceLink {
 public:
  ServiceLink(ServiceContext& context, std::shared_ptr<RunningThread> thread)
      : context_(&context), cancellation_(context.cancellation()), thread_(std::move(thread)) {}

  // The service has ended.
  void sever();

  // Who has the loop's seat while this service runs there; null for one on a thread.
  void sit(const std::shared_ptr<LoopOccupant>& occupant) { occupant_ = occupant; }
  [[nodiscard]] std::shared_ptr<LoopOccupant> occupant() const { return occupant_.lock(); }

  [[nodiscard]] std::string path() const { return context_ ? context_->path() : std::string(); }
  [[nodiscard]] std::string id() const { return context_ ? context_->id() : std::string(); }
  [[nodiscard]] std::optional<unsigned> instance() const {
    return context_ ? context_->instance() : std::nullopt;
  }
  [[nodiscard]] std::string config() const;  // As JSON; empty for {}.

  [[nodiscard]] bool cancelled() const { return cancellation_.is_cancellation_requested(); }
  // True once a stop was requested; waits without the GIL. Nothing: without end.
  [[nodiscard]] bool wait(std::optional<double> seconds) const;
  // Has `callback` called once a stop is requested, by a thread that may wait for the GIL.
  void on_cancel(py::function callback);
  // Has `waker` called when tell_ended() is: the service's task has ended.
  void on_ended(Waiter::Waker waker) { ended_.emplace(std::move(waker)); }
  void tell_ended(const py::object& task) const;
  // A stop is raised in the service's thread at once: it has no other way to learn of it.
  void interrupt_on_cancel();

  void ready() const;
  void heartbeat() const;
  void status(const std::string& text) const;
  void log(const std::string& level, const std::string& logger, const std::string& message,
           const std::string& file, std::int64_t line) const;
  void count(const std::string& name, double by) const;
  void gauge(const std::string& name, double value) const;

 private:
  ServiceContext* context_;  // Null once severed.
  const CancellationToken cancellation_;
  const std::shared_ptr<RunningThread> thread_;
  std::list<Registration> registrations_;
  std::optional<Waiter::Waker> ended_;
  std::weak_ptr<LoopOccupant> occupant_;  // Which owns the service, which owns this.
};

// Raises unirun.Cancelled in the thread, if it still runs the service. REQUIRES: the GIL.
void strike(const RunningThread& thread);

void bind_service_link(py::module_& module);

}  // namespace unirun::bindings
