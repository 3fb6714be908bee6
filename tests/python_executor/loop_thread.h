// An event loop on a thread of its own.

#pragma once

#include <thread>

#include "framework/clock.h"
#include "framework/event_loop.h"

namespace unirun::python {

class LoopThread {
 public:
  LoopThread() : thread_([this] { loop_.run(); }) {}
  ~LoopThread() {
    loop_.stop();
    thread_.join();
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  EventLoop& loop() { return loop_; }
  [[nodiscard]] std::thread::id id() const { return thread_.get_id(); }

 private:
  SystemClock clock_;
  EventLoop loop_{clock_};
  std::thread thread_;
};

}  // namespace unirun::python
