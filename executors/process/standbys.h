// Standbys are workers that are forked, have imported, and wait for their service to need them: a
// launch that finds one is a message instead of a start. Restarts, their pace and their limits stay
// the supervisor's; it never hears of a standby.
//
// A service's standbys are made a moment after it has come up, made anew when one has been taken,
// and ended when the service was stopped, or has not come back for a while.
//
// Thread: the loop's.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/process/process_run.h"

namespace unirun {

class Standbys {
 public:
  // Both outlive it.
  Standbys(RunWorld& world, ProcessRun::Owner& owner);
  ~Standbys();
  Standbys(const Standbys&) = delete;
  Standbys& operator=(const Standbys&) = delete;

  // One that waits for this launch's service, or null.
  [[nodiscard]] std::unique_ptr<ProcessRun> take(const Launch& launch);

  // The service runs by this launch: see that as many wait as it asks for.
  void service_runs(const Launch& launch);
  // It has ended, and may come back.
  void service_ended(const std::string& path);
  // It has ended because it was to.
  void service_stopped(const std::string& path);

  // News of a standby. After `ended` it is gone.
  void waits(const ProcessRun& run);
  void ended(const ProcessRun& run);

  // The numbers in the marks of those that live.
  void add_numbers(std::vector<std::uint64_t>& numbers) const;

  // Ends all of them, and waits for their ends.
  void clear();

 private:
  struct Standby {
    std::unique_ptr<ProcessRun> run;
    bool waits = false;
  };
  struct Service {
    Launch launch;
    std::vector<Standby> standbys;
    unsigned failures = 0;             // In a row.
    TimerId refill = TimerId::none;    // Makes those that lack.
    TimerId farewell = TimerId::none;  // Ends them.
  };

  void refill_in(Duration wait, Service& service);
  void refill(Service& service);
  void try_again(Service& service);
  void drop(const std::string& path);
  void leave(Service& service);

  RunWorld& world_;
  ProcessRun::Owner& owner_;
  std::map<std::string, Service> services_;           // By path.
  std::vector<std::unique_ptr<ProcessRun>> leaving_;  // Killed.
};

}  // namespace unirun
