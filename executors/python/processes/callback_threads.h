// CallbackThreads are the threads on which functions of this process run for worker processes. They
// are joined, but for those whose function does not return: those end with it, whenever that is.
//
// Thread: one owns them and calls.

#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "executors/thread/service_thread.h"
#include "framework/time.h"

namespace unirun::python {

class CallbackThreads {
 public:
  CallbackThreads();
  // As join(), at once.
  ~CallbackThreads();
  CallbackThreads(const CallbackThreads&) = delete;
  CallbackThreads& operator=(const CallbackThreads&) = delete;

  // False: no thread can be had. `body` keeps alive what it needs, and lets go of it at its end.
  [[nodiscard]] bool start(std::function<void()> body);
  // Waits so long for all of them to end. Who has not ended by then is left to itself.
  void join(Duration timeout);

 private:
  struct Alive;

  const std::shared_ptr<Alive> alive_;
  std::vector<ServiceThread> threads_;
};

}  // namespace unirun::python
