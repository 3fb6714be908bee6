// Forensics makes one record of every death that was not asked for, out of the events around it:
// what ended and why, what it printed last, and what its supervisor then did about it.
//
// A record is handed over when the turn of the loop in which the death became known is over, and
// again, completed, when the supervisor has dealt with it.
//
// Thread: the loop's.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "executors/output/output_store.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "host/death_record.h"
#include "supervisors/supervision_tree.h"

namespace unirun {

class Forensics {
 public:
  using Sink = std::function<void(const DeathRecord&)>;

  // All outlive the forensics.
  Forensics(EventLoop& loop, EventBus& bus, const OutputStore& output, const SupervisionTree& tree,
            Sink sink);

  // Hands over what is still open.
  void finish();

 private:
  void observe(const Event& event);
  void on_exit(const Event& event, const ServiceExited& exit);
  void on_give_up(const Event& event, const SupervisorGaveUp& give_up);
  void on_sibling_stopped(const std::string& path);
  DeathRecord& open(const Event& event, const ExitReason& reason);
  void decide(const std::string& path, std::string decision);
  void hand_over_soon(const std::string& path);
  void hand_over();
  void describe_rule(DeathRecord& record) const;
  void add_last_lines(DeathRecord& record) const;

  EventLoop& loop_;
  const OutputStore& output_;
  const SupervisionTree& tree_;
  Sink sink_;

  struct Case {
    DeathRecord record;
    bool closed = false;
  };
  std::unordered_map<std::string, Case> cases_;              // By the path of the dead.
  std::unordered_map<std::string, std::string> last_death_;  // Supervisor's path to child's path.
  std::vector<std::string> changed_;  // Paths of cases to hand over at the end of this turn.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  Subscription subscription_;
};

}  // namespace unirun
