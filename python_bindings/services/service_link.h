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
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/loop_seat.h"
#include "framework/service.h"
#include "framework/waiter.h"
#include "python_bindings/python_queue.h"

namespace unirun::bindings {

class ServiceLink;

// The thread in which Python code of a service runs, and only as long as it does: that is where and
// when an exception may be raised in it. The GIL guards it.
class RunningThread {
 public:
  // From here on it may be struck. REQUIRES: called right before the service's code.
  void enter();
  // Right behind it, before any other Python code runs: what is still to be raised will not be.
  void leave();

  // Whose service runs there.
  void serve(std::weak_ptr<const ServiceLink> link) { link_ = std::move(link); }

  // Raises unirun.Cancelled in the service's code, if it runs now. False: that cannot be struck
  // just now, but a moment later.
  [[nodiscard]] bool strike() const;
  // Ends what the code may be waiting for.
  void tell_interrupted() const;
  // Where it stands, as a traceback shows it; empty where it runs no Python.
  [[nodiscard]] std::string stack() const;
  [[nodiscard]] bool is_inside() const { return is_inside_; }

 private:
  bool is_inside_ = false;
  unsigned long id_ = 0;
  PyThreadState* state_ = nullptr;  // Of that thread, while it is inside.
  std::weak_ptr<const ServiceLink> link_;
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
  // Has `callback` called when the service is interrupted, and each time.
  void on_interrupt(py::function callback) { interrupted_ = std::move(callback); }
  void tell_interrupted() const;
  // A stop is raised in the service's thread at once: it has no other way to learn of it.
  void interrupt_on_cancel();

  void ready() const;
  void heartbeat() const;
  void status(const std::string& text) const;
  void log(const std::string& level, const std::string& logger, const std::string& message,
           const std::string& file, std::int64_t line,
           std::map<std::string, std::string> extra) const;
  void count(const std::string& name, double by) const;
  void gauge(const std::string& name, double value) const;
  // Raises UnreachableHost once the service, or the host, has ended.
  [[nodiscard]] PythonQueue open_events(const std::vector<std::string>& kinds, std::size_t capacity,
                                        const std::string& name);

 private:
  ServiceContext* context_;  // Null once severed.
  const CancellationToken cancellation_;
  const std::shared_ptr<RunningThread> thread_;
  std::list<Registration> registrations_;
  std::shared_ptr<OpenQueues> queues_;  // Null before the first.
  std::optional<Waiter::Waker> ended_;
  py::object interrupted_;                // Null: nobody wants to hear of it.
  std::weak_ptr<LoopOccupant> occupant_;  // Which owns the service, which owns this.
};

void bind_service_link(py::module_& module);

}  // namespace unirun::bindings
