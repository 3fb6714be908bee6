// A PythonExecutor that runs, and what tests do to it.

#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <latch>
#include <memory>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"

namespace unirun::python {

using namespace std::chrono_literals;

inline constexpr Duration patience = 60s;

struct Running {
  explicit Running(const PythonExecutor::Config& config = {.num_workers = 2}) {
    const auto started = PythonExecutor::start(config);
    REQUIRE_MESSAGE(started.ok(), (started.ok() ? "" : started.error().message));
  }
  ~Running() {
    if (PythonExecutor::is_initialized())
      static_cast<void>(PythonExecutor::shutdown({.drain = 0s}));
  }
};

// A task that runs until it is let go, without the GIL. It may outlive the test: a worker that is
// given up is waited for by nobody.
class Gated {
 public:
  auto task() {
    return [latches = latches_] {
      const GILRelease released;
      latches->running.count_down();
      latches->open.wait();
    };
  }
  void wait_until_running() { latches_->running.wait(); }
  void let_go() { latches_->open.count_down(); }

 private:
  struct Latches {
    std::latch running{1};
    std::latch open{1};
  };
  std::shared_ptr<Latches> latches_ = std::make_shared<Latches>();
};

// For what is to have begun when its deadline strikes: calls `attempt` with longer and longer
// timeouts until it says that it had. On a busy machine half a second may not be enough for that.
template <class Attempt>
void until_begun_in_time(const Attempt& attempt) {
  for (Duration timeout = 500ms; !attempt(timeout); timeout *= 8) REQUIRE(timeout < patience);
}

template <class T>
Errc code_of(future<T>& awaited) {
  const auto result = awaited.get();
  return result.ok() ? Errc::ok : result.error().code;
}

}  // namespace unirun::python
