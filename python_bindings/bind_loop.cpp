#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <memory>
#include <string_view>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "python_bindings/loop/attached_loop.h"
#include "python_bindings/loop/handle.h"
#include "python_bindings/loop/loop_core.h"

namespace unirun::bindings {
namespace {

// The types that stand on asyncio are made when one is first asked for: importing asyncio is most
// of what a worker would pay for.
py::object loop_type(std::string_view name) {
  const auto find = [name]() -> PyTypeObject* {
    if (name == "LoopCore") return loop_core_type();
    if (name == "LoopHandle") return handle_type();
    if (name == "LoopTimerHandle") return timer_handle_type();
    throw py::attribute_error("module 'unirun._core' has no attribute '" + std::string(name) + "'");
  };
  if (find() == nullptr && !init_loop_core()) throw py::error_already_set();
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(find()));
}

// A loop as a host has it, with asyncio attached: for tests.
class HostedLoop {
 public:
  HostedLoop() : attached_(unwrap(AttachedLoop::attach(loop_))) {}
  ~HostedLoop() { detach(0); }
  HostedLoop(const HostedLoop&) = delete;
  HostedLoop& operator=(const HostedLoop&) = delete;

  py::object loop() const { return py::reinterpret_borrow<py::object>(attached_->loop()); }
  void run() {
    const py::gil_scoped_release released;
    loop_.run();
  }
  void stop() { loop_.stop(); }
  void detach(double patience) {
    const py::gil_scoped_release released;
    attached_->detach(
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(patience)));
  }

 private:
  SystemClock clock_;
  EventLoop loop_{clock_};
  std::unique_ptr<AttachedLoop> attached_;
};

}  // namespace

void bind_loop(py::module_& module) {
  module.def("__getattr__", &loop_type, py::arg("name"));
  py::class_<HostedLoop>(module, "HostedLoop")
      .def(py::init<>())
      .def("run", &HostedLoop::run)
      .def("stop", &HostedLoop::stop)
      .def("detach", &HostedLoop::detach, py::arg("patience"))
      .def_property_readonly("loop", &HostedLoop::loop);
}

}  // namespace unirun::bindings
