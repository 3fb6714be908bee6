// AsgiApplication is what all that runs an ASGI application shares: the object that is called, and
// what its lifespan has left for the connections.
//
// Thread: any.

#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "executors/python/async/coroutine_task.h"
#include "executors/python/values/ref.h"

namespace unirun::python {

class AsgiLifespan;

class AsgiApplication {
 public:
  AsgiApplication(std::string name, Ref callable)
      : name_(std::move(name)), callable_(std::move(callable)) {}
  AsgiApplication(const AsgiApplication&) = delete;
  AsgiApplication& operator=(const AsgiApplication&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Ref& callable() const { return callable_; }
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
  const std::string name_;
  const Ref callable_;
  LoopHome home_;
  mutable std::mutex mutex_;  // Guards the rest.
  Ref state_;
  std::shared_ptr<AsgiLifespan> lifespan_;
};

}  // namespace unirun::python
