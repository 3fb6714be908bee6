#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "framework/event.h"
#include "framework/event_queue.h"
#include "host/background_host.h"
#include "host/config/load_config.h"
#include "host/json_text.h"
#include "python_bindings/python_queue.h"
#include "python_bindings/services/python_service_factory.h"
#include "python_bindings/waiting.h"

namespace unirun::bindings {
namespace {

// Everything here is for Python threads with the GIL, and gives it up whenever it waits. The loop
// thread never takes the GIL: a Python program that computes must not hold supervision up.
class PythonHost {
 public:
  PythonHost(HostConfig config, const HostOptions& options)
      : host_(std::make_shared<BackgroundHost>(std::move(config), options)) {}

  void start(bool wait_for_trees) {
    const std::shared_ptr<BackgroundHost> host = running();
    auto started = std::async(std::launch::async, [&] { return host->start(wait_for_trees); });
    std::optional<py::error_already_set> interrupted;
    const auto done = [&](Duration slice) {
      return started.wait_for(slice) == std::future_status::ready;
    };
    for (bool waits = true; waits;) {
      try {
        wait_interruptibly(done);
        waits = false;
      } catch (py::error_already_set& signal) {  // What has begun is ended before it is told.
        host->request_stop("interrupted while starting");
        interrupted.emplace(std::move(signal));
      }
    }
    const Status status = started.get();
    ran_ = status.ok() || host->wait(Duration{});
    if (interrupted) throw py::error_already_set(std::move(*interrupted));
    unwrap(status);
  }

  void request_stop(std::string cause) {
    if (host_ && !forked()) host_->request_stop(std::move(cause));
  }

  // Without a look at signals: for a thread of its own. Nothing: it never ran.
  std::optional<int> wait() {
    const std::shared_ptr<BackgroundHost> host = host_;
    if (!host || !ran_ || forked()) return std::nullopt;
    const py::gil_scoped_release released;
    return static_cast<int>(*host->wait());
  }

  std::string call(std::string name, const std::string& arguments) {
    auto promise = std::make_shared<std::promise<Result<nlohmann::json>>>();
    std::future<Result<nlohmann::json>> answer = promise->get_future();
    running()->handle().post(
        {std::move(name), nlohmann::json::parse(arguments)},
        [promise](Result<nlohmann::json> result) { promise->set_value(std::move(result)); });
    wait_interruptibly(
        [&](Duration slice) { return answer.wait_for(slice) == std::future_status::ready; });
    return json_text(unwrap(answer.get()));
  }

  PythonQueue open_queue(const std::vector<std::string>& kinds, std::size_t capacity,
                         std::string name) {
    const EventKinds wanted = kinds_of(kinds);
    const std::shared_ptr<BackgroundHost> host = running();
    std::shared_ptr<EventQueue> queue;
    {
      const py::gil_scoped_release released;  // Waits for the loop thread.
      queue = host->open_queue(wanted, capacity, std::move(name));
    }
    if (!queue) raise({Errc::unreachable_host, "the host has ended"});
    return PythonQueue(std::move(queue));
  }

  // Kills what still runs and waits for the loop thread. The thread needs no GIL to end, but the
  // wait must not keep others from theirs.
  void close() {
    std::shared_ptr<BackgroundHost> host = std::exchange(host_, nullptr);
    if (!host) return;
    if (forked()) {  // Its thread is the parent's; here nobody could join it, so it is let be.
      static_cast<void>(new std::shared_ptr<BackgroundHost>(std::move(host)));
      return;
    }
    const py::gil_scoped_release released;
    if (ran_) {
      for (int asked = 0; asked < 2; ++asked) host->request_stop("the program has ended");
      static_cast<void>(host->wait());  // A thread in wait() may hold it a little longer.
    }
    host.reset();
  }

  [[nodiscard]] std::string socket_path() const { return running()->socket_path(); }

 private:
  [[nodiscard]] std::shared_ptr<BackgroundHost> running() const {
    if (!host_) raise({Errc::unreachable_host, "the host has ended"});
    if (forked()) {
      raise({Errc::unreachable_host, "the host belongs to process " + std::to_string(owner_) +
                                         ", and this is a fork of it; use unirun.connect() here"});
    }
    return host_;
  }
  [[nodiscard]] bool forked() const { return ::getpid() != owner_; }

  const pid_t owner_ = ::getpid();
  std::shared_ptr<BackgroundHost> host_;
  bool ran_ = false;  // Its loop has run, so that its end can be waited for.
};

// A PythonHost that Python collects joins the loop thread, and must not hold the GIL meanwhile:
// close() gives it up.
struct CloseWithoutGil {
  void operator()(PythonHost* host) const {
    host->close();
    delete host;
  }
};
using HostHolder = std::unique_ptr<PythonHost, CloseWithoutGil>;

HostHolder host_of(LoadOutcome outcome, const std::string& origin, bool control, bool journal) {
  if (!outcome.ok()) raise(outcome.faults, origin);
  HostOptions options;
  options.control = control;
  options.python_services = &python_services();
  options.journal = journal;
  return HostHolder(new PythonHost(std::move(*outcome.config), options));
}

HostHolder from_json(const std::string& document, const std::string& directory, bool control,
                     bool journal) {
  LoadOptions options;
  options.python_in_host = true;
  options.directory = directory;
  LoadOutcome outcome;
  {
    const py::gil_scoped_release released;  // Looks at the disk.
    outcome = config_from_json(nlohmann::json::parse(document), options);
  }
  return host_of(std::move(outcome), "this tree", control, journal);
}

HostHolder from_file(const std::string& path, bool control, bool journal) {
  LoadOutcome outcome;
  {
    const py::gil_scoped_release released;
    LoadOptions options;
    options.python_in_host = true;
    outcome = load_config(path, options);
  }
  return host_of(std::move(outcome), path, control, journal);
}

}  // namespace

void bind_host(py::module_& module) {
  bind_queue(module);
  py::class_<PythonHost, HostHolder>(module, "Host")
      .def_static("from_json", &from_json, py::arg("document"), py::arg("directory"),
                  py::arg("control"), py::arg("journal"))
      .def_static("from_file", &from_file, py::arg("path"), py::arg("control"), py::arg("journal"))
      .def("start", &PythonHost::start, py::arg("wait"))
      .def("request_stop", &PythonHost::request_stop, py::arg("cause"))
      .def("wait", &PythonHost::wait)
      .def("call", &PythonHost::call, py::arg("name"), py::arg("arguments"))
      .def("open_queue", &PythonHost::open_queue, py::arg("kinds"), py::arg("capacity"),
           py::arg("name"))
      .def("close", &PythonHost::close)
      .def_property_readonly("socket_path", &PythonHost::socket_path);
}

}  // namespace unirun::bindings
