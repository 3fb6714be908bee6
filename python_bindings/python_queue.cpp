#include "python_bindings/python_queue.h"
// python_queue.h first: it brings Python.h.

#include <algorithm>
#include <chrono>

#include "host/json_text.h"
#include "python_bindings/waiting.h"

namespace unirun::bindings {
namespace {

// Signal handlers run in the main thread alone: others can wait without looking.
bool in_main_thread() {
  const py::module_ threading = py::module_::import("threading");
  return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

}  // namespace

std::vector<std::string> PythonQueue::take(std::optional<double> timeout) {
  EventQueue::Batch batch;
  if (timeout) {
    const py::gil_scoped_release released;
    batch = queue_->take(*duration(timeout));
  } else if (in_main_thread()) {
    wait_interruptibly([&](Duration slice) { return take_or_end(batch, slice); });
  } else {
    const py::gil_scoped_release released;
    while (!take_or_end(batch, std::chrono::hours{1})) {
    }
  }
  const py::gil_scoped_release released;
  std::vector<std::string> texts;
  texts.reserve(batch.size());
  for (const auto& event : batch) texts.push_back(json_text(to_json(*event)));
  return texts;
}

// Empty only at the end: what came before the closing is still given.
bool PythonQueue::take_or_end(EventQueue::Batch& batch, Duration slice) {
  const bool closed = queue_->closed();
  batch = queue_->take(slice);
  return closed || !batch.empty();
}

void OpenQueues::add(const std::shared_ptr<EventQueue>& queue) {
  const std::lock_guard lock(mutex_);
  if (closed_) return queue->close();
  const auto gone = [](const std::weak_ptr<EventQueue>& other) { return other.expired(); };
  queues_.erase(std::remove_if(queues_.begin(), queues_.end(), gone), queues_.end());
  queues_.push_back(queue);
}

void OpenQueues::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  for (const auto& weak : std::exchange(queues_, {})) {
    if (const auto queue = weak.lock()) queue->close();
  }
}

EventKinds kinds_of(const std::vector<std::string>& words) {
  if (words.empty()) return EventKinds::all();
  EventKinds kinds;
  for (const std::string& word : words) {
    const std::optional<EventKind> kind = event_kind_from(word);
    if (!kind) raise({Errc::invalid_argument, "there is no kind of event \"" + word + "\""});
    kinds = kinds | *kind;
  }
  return kinds;
}

void bind_queue(py::module_& module) {
  py::class_<PythonQueue>(module, "EventQueue")
      .def("take", &PythonQueue::take, py::arg("timeout"))
      .def("close", &PythonQueue::close, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("closed", &PythonQueue::closed)
      .def_property_readonly("dropped", &PythonQueue::dropped);
}

}  // namespace unirun::bindings
