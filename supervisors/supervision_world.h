// SupervisionWorld: all that supervision may ask of the world. Small references rather than one
// wide interface, so that a test replaces only what it means to.
//
// Thread: the loop's. A door (host, test, simulation) owns everything named here and keeps it
// alive longer than the tree.

#pragma once

#include <map>
#include <string>
#include <string_view>

#include "executors/executor.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/random.h"
#include "framework/timers.h"
#include "supervisors/run_ids.h"

namespace unirun {

// Executors by the name that ChildSpec::executor uses.
class Executors {
 public:
  void add(std::string name, Executor& executor) { by_name_[std::move(name)] = &executor; }

  // Null where there is none of this name.
  [[nodiscard]] Executor* find(std::string_view name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
  }

  // To whichever of them has this run: the others ignore it. Cheaper than to remember, for each of
  // 100,000 runs, where it lives.
  void request_stop(RunId run) const;
  void kill(RunId run) const;

  // "process, thread", for messages.
  [[nodiscard]] std::string names() const;

 private:
  std::map<std::string, Executor*, std::less<>> by_name_;
};

struct SupervisionWorld {
  const Clock& clock;          // What time is it? Monotonic; never the wall clock.
  Timers& timers;              // Call me then. Equal instants fire in the order they were set.
  Random& random;              // The only chance there is; its owner says the seed in the log.
  EventBus& events;            // Who cares, hears of it.
  const Executors& executors;  // Launch this child there, and tell me once when it has ended.
  RunIds& runs;
};

}  // namespace unirun
