// CallingProcess is a worker process that calls C++ functions of this one: who takes a permit of a
// limiter for it names its id, and the permit comes back with the process's end.
//
// Thread: any.

#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "executors/python/state/limiter.h"

namespace unirun::python {

class CallingProcess {
 public:
  CallingProcess() : id_(last_id.fetch_add(1) + 1) {}
  // Functions of its have ended by now, and what they have taken since end() comes back, too.
  ~CallingProcess() { end(); }
  CallingProcess(const CallingProcess&) = delete;
  CallingProcess& operator=(const CallingProcess&) = delete;

  // The process has ended: nobody there waits for a permit or gives one back.
  void end() const { static_cast<void>(release_permits_of(id_)); }

  // Of the process for which a function runs on this thread; 0: for none.
  [[nodiscard]] static OwnerId current_id() { return current; }

  // A function runs here for that process, or for none.
  class Scope {
   public:
    explicit Scope(const std::shared_ptr<const CallingProcess>& process)
        : outer_(std::exchange(current, process != nullptr ? process->id_ : 0)) {}
    ~Scope() { current = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    const OwnerId outer_;
  };

 private:
  inline static std::atomic<OwnerId> last_id{0};
  inline static thread_local OwnerId current = 0;

  const OwnerId id_;
};

}  // namespace unirun::python
