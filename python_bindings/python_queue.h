// PythonQueue is an EventQueue as unirun.streams reads it: events as JSON texts.
//
// Thread: any with the GIL, which it gives up whenever it waits.

#pragma once

#include "python_bindings/pybind.h"
// pybind.h first: it brings Python.h.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/event_bus.h"
#include "framework/event_queue.h"

namespace unirun::bindings {

class PythonQueue {
 public:
  explicit PythonQueue(std::shared_ptr<EventQueue> queue) : queue_(std::move(queue)) {}

  // All that has come, waiting for the first; nothing: without end. Empty on timeout or at the end.
  std::vector<std::string> take(std::optional<double> timeout);

  void close() { queue_->close(); }
  [[nodiscard]] bool closed() const { return queue_->closed(); }
  [[nodiscard]] std::uint64_t dropped() const { return queue_->dropped(); }

 private:
  bool take_or_end(EventQueue::Batch& batch, Duration slice);

  std::shared_ptr<EventQueue> queue_;
};

// The queues that one service has opened. Nobody reads on when it is to stop, or has ended: a
// thread that waits in take() returns.
//
// Thread: any.
class OpenQueues {
 public:
  // Closed at once if the others have been.
  void add(const std::shared_ptr<EventQueue>& queue);
  void close();

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<EventQueue>> queues_;  // Guarded by `mutex_`, as what follows.
  bool closed_ = false;
};

// The kinds of these words; none means all. Raises ValueError for a word that is none.
[[nodiscard]] EventKinds kinds_of(const std::vector<std::string>& words);

void bind_queue(py::module_& module);

}  // namespace unirun::bindings
