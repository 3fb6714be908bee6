// PythonTask is a Python service as an asyncio task on the host's loop, awaited by a coroutine in
// C++: that is where Python's and our coroutines meet.
//
// Thread: the loop's, and it takes the GIL by itself; interrupt() and stack() any. Freed on the
// loop's.

#pragma once

#include "python_bindings/services/service_link.h"
// service_link.h first: it brings Python.h.

#include <coroutine>
#include <memory>
#include <string>

#include "framework/service.h"
#include "framework/waiter.h"

namespace unirun {
struct ServiceSpec;
}

namespace unirun::bindings {

class PythonTask {
 public:
  PythonTask();
  ~PythonTask();
  PythonTask(const PythonTask&) = delete;
  PythonTask& operator=(const PythonTask&) = delete;

  // Begins in a turn of `loop`. Throws as Service::run_async() does: what cannot begin has ended.
  // REQUIRES: called once.
  void begin(PyObject* loop, const ServiceSpec& spec, ServiceContext& context);

  // CancelledError inside, at its next await. REQUIRES: it has begun.
  void cancel();

  class [[nodiscard]] Ended {
   public:
    Ended(EventLoop& loop, ServiceLink& link) : waiter_(loop), link_(link) {}
    Ended(const Ended&) = delete;
    Ended& operator=(const Ended&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) {
      waiter_.begin(waiting);
      link_.on_ended(waiter_.waker());
    }
    void await_resume() const noexcept {}

   private:
    Waiter waiter_;
    ServiceLink& link_;
  };
  // REQUIRES: begun in this very turn; awaited at once, and once.
  Ended ended() { return {*loop_, *link_}; }

  // Throws what ended it. REQUIRES: it has ended.
  void take();

  // CancelledError where its code runs right now and keeps the loop; else as cancel().
  void interrupt();
  // Where it runs or waits.
  [[nodiscard]] std::string stack() const;

 private:
  // What is only ever touched under the GIL, which may be later than the end of this.
  struct Objects;

  EventLoop* loop_ = nullptr;
  std::shared_ptr<ServiceLink> link_;
  const std::shared_ptr<Objects> objects_;
};

}  // namespace unirun::bindings
