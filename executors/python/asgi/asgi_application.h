// AsgiApplication is what all that runs an ASGI application shares: the object that is called, and
// what its lifespan has left for the connections.
//
// Thread: any.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "executors/python/async/coroutine_task.h"
#include "executors/python/calls/call_spec.h"
#include "executors/python/error.h"
#include "executors/python/values/ref.h"

namespace unirun::python {

class AsgiLifespan;

class AsgiApplication {
 public:
  AsgiApplication(CallSpec name, Ref callable)
      : spec_(std::move(name)), callable_(std::move(callable)) {}
  AsgiApplication(const AsgiApplication&) = delete;
  AsgiApplication& operator=(const AsgiApplication&) = delete;

  [[nodiscard]] std::string name() const { return spec_.module + ":" + spec_.function; }
  // What is to be called, in the interpreter of this thread; where it was found in another, which
  // had a worker with one of its own, by its name. Thread: with the GIL.
  [[nodiscard]] Result<Reference> callable();
  // All that it does happens on one loop, as its lifespan and its locks expect.
  [[nodiscard]] LoopHome& home() { return home_; }

  // A dict, of which each connection is given a copy; nothing: there is no lifespan.
  [[nodiscard]] Ref state() const {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  void set_state(Ref state) {
    const std::lock_guard lock(mutex_);
    std::swap(state_, state);  // What it was is dropped after the lock.
  }

  // Makes `lifespan` the one that runs. False: another does.
  [[nodiscard]] bool begin_lifespan(std::shared_ptr<AsgiLifespan> lifespan) {
    const std::lock_guard lock(mutex_);
    if (lifespan_) return false;
    lifespan_ = std::move(lifespan);
    return true;
  }
  // Null: none runs.
  [[nodiscard]] std::shared_ptr<AsgiLifespan> take_lifespan() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lifespan_, nullptr);
  }

 private:
  const CallSpec spec_;
  LoopHome home_;
  mutable std::mutex mutex_;  // Guards the rest.
  Ref callable_;
  Ref state_;
  std::shared_ptr<AsgiLifespan> lifespan_;
};

}  // namespace unirun::python
