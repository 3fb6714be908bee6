#include "python_bindings/services/service_link.h"
// service_link.h first: it brings Python.h.

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "executors/python/interpreter/raise_in_thread.h"
#include "host/json_text.h"
#include "python_bindings/exception.h"
#include "python_bindings/gil.h"
#include "python_bindings/services/attendant.h"
#include "python_bindings/services/python_life.h"

namespace unirun::bindings {
namespace {

// Longer than a host lives, and no overflow when it is added to the time.
constexpr double longest_wait = 1e8;

// Of a Python object that is let go of on a thread without the GIL.
std::shared_ptr<PyObject> shared(const py::object& object) {
  return {object.inc_ref().ptr(),
          [](PyObject* held) { Attendant::of_process().post([held] { Py_DECREF(held); }); }};
}

}  // namespace

void RunningThread::enter() {
  id_ = PyThread_get_thread_ident();
  state_ = PyThreadState_Get();
  is_inside_ = true;
}

void RunningThread::leave() {
  is_inside_ = false;
  python::raise_in_thread(id_, nullptr);
}

bool RunningThread::strike() const {
  if (!is_inside_) return true;
  if (python::is_out_of_reach(state_)) return false;
  const py::object cancelled = py::module_::import("unirun.cancellation").attr("Cancelled");
  python::raise_in_thread(id_, cancelled.ptr());
  return true;
}

void RunningThread::tell_interrupted() const {
  if (const auto link = link_.lock()) link->tell_interrupted();
}

std::string RunningThread::stack() const {
  if (!is_inside_) return {};
  return in_process().attr("stack_of")(id_).cast<std::string>();
}

// Not under the GIL: ending a registration waits for a callback that is running.
void ServiceLink::sever() {
  context_ = nullptr;
  occupant_.reset();
  interrupted_ = py::object();
  if (queues_) queues_->close();
  std::list<Registration> registrations = std::exchange(registrations_, {});
  if (registrations.empty()) return;
  without_gil([&] {
    registrations.clear();
    return true;
  });
}

std::string ServiceLink::config() const {
  if (!context_ || context_->config().empty()) return {};
  return json_text(context_->config());
}

bool ServiceLink::wait(std::optional<double> seconds) const {
  if (cancelled()) return true;
  const double limit = std::min(std::max(seconds.value_or(longest_wait), 0.0), longest_wait);
  const auto timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(limit));
  return without_gil([&] {
    bool requested = cancellation_.wait(timeout);
    while (!requested && !seconds) requested = cancellation_.wait(timeout);
    return requested;
  });
}

void ServiceLink::on_cancel(py::function callback) {
  registrations_.push_back(cancellation_.on_cancel([callback = shared(callback)] {
    Attendant::of_process().post([callback] {
      PyObject* const result = or_hang([&] { return PyObject_CallNoArgs(callback.get()); });
      if (result == nullptr) PyErr_WriteUnraisable(callback.get());
      Py_XDECREF(result);
    });
  }));
}

void ServiceLink::interrupt_on_cancel() {
  registrations_.push_back(cancellation_.on_cancel([thread = thread_] {
    Attendant::of_process().post_until([thread] { return thread->strike(); });
  }));
}

void ServiceLink::tell_ended(const py::object& /*task*/) const {
  if (ended_) (*ended_)();
}

void ServiceLink::tell_interrupted() const {
  const py::object callback = interrupted_;
  if (!callback) return;
  try {
    callback();
  } catch (py::error_already_set& error) {
    error.discard_as_unraisable("unirun: the interruption of a service");
  }
}

void ServiceLink::ready() const {
  if (context_) context_->ready();
}

void ServiceLink::heartbeat() const {
  if (context_) context_->heartbeat();
}

void ServiceLink::status(const std::string& text) const {
  if (context_) context_->status(text);
}

void ServiceLink::log(const std::string& level, const std::string& logger,
                      const std::string& message, const std::string& file, std::int64_t line,
                      std::map<std::string, std::string> extra) const {
  if (!context_) return;
  context_->log({RunId{}, level, logger, message, file, line, std::move(extra)});
}

void ServiceLink::count(const std::string& name, double by) const {
  if (context_) context_->count(name, by);
}

void ServiceLink::gauge(const std::string& name, double value) const {
  if (context_) context_->gauge(name, value);
}

// Without the GIL: it may wait for the loop, which waits for the GIL. The service may end
// meanwhile.
PythonQueue ServiceLink::open_events(const std::vector<std::string>& kinds, std::size_t capacity,
                                     const std::string& /*name*/) {
  const EventKinds wanted = kinds_of(kinds);
  if (context_ && !queues_) {
    queues_ = std::make_shared<OpenQueues>();
    registrations_.push_back(cancellation_.on_cancel([queues = queues_] { queues->close(); }));
  }
  const auto queues = queues_;
  std::shared_ptr<EventQueue> queue;
  if (const auto context = context_ ? context_->keep() : nullptr) {
    const py::gil_scoped_release released;
    try {
      queue = context->open_events(wanted, capacity);
    } catch (const Cancelled&) {  // There is nothing any more that could happen.
    }
  }
  if (!queue) raise({Errc::unreachable_host, "context.events: this service has ended"});
  queues->add(queue);
  return PythonQueue(std::move(queue));
}

void bind_service_link(py::module_& module) {
  py::class_<ServiceLink, std::shared_ptr<ServiceLink>>(module, "ServiceLink")
      .def_property_readonly("path", &ServiceLink::path)
      .def_property_readonly("id", &ServiceLink::id)
      .def_property_readonly("instance", &ServiceLink::instance)
      .def_property_readonly("config", &ServiceLink::config)
      .def_property_readonly("cancelled", &ServiceLink::cancelled)
      .def("wait", &ServiceLink::wait, py::arg("timeout"))
      .def("tell_ended", &ServiceLink::tell_ended, py::arg("task"))
      .def("on_cancel", &ServiceLink::on_cancel, py::arg("callback"))
      .def("interrupt_on_cancel", &ServiceLink::interrupt_on_cancel)
      .def("on_interrupt", &ServiceLink::on_interrupt, py::arg("callback"))
      .def("ready", &ServiceLink::ready)
      .def("heartbeat", &ServiceLink::heartbeat)
      .def("status", &ServiceLink::status, py::arg("text"))
      .def("log", &ServiceLink::log, py::arg("level"), py::arg("logger"), py::arg("message"),
           py::arg("file"), py::arg("line"), py::arg("extra"))
      .def("count", &ServiceLink::count, py::arg("name"), py::arg("by"))
      .def("gauge", &ServiceLink::gauge, py::arg("name"), py::arg("value"))
      .def("open_events", &ServiceLink::open_events, py::arg("kinds"), py::arg("capacity"),
           py::arg("name"));
}

}  // namespace unirun::bindings
