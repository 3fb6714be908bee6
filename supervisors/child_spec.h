// ChildSpec and SupervisorSpec: what a supervisor knows of its children and of itself. The words
// and the defaults are OTP's (supervisor.erl, sup_flags() and child_spec()); what is ours is
// marked.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "executors/service_spec.h"
#include "framework/result.h"
#include "framework/time.h"
#include "supervisors/backoff.h"

namespace unirun {

enum class RestartStrategy : std::uint8_t {
  one_for_one,
  one_for_all,
  rest_for_one,
  simple_one_for_one
};
enum class Restart : std::uint8_t { permanent, transient, temporary };
enum class ChildType : std::uint8_t { worker, supervisor };
enum class AutoShutdown : std::uint8_t { never, any_significant, all_significant };
enum class OnExhausted : std::uint8_t { escalate, probe };                    // Ours: probe.
enum class DependencyCondition : std::uint8_t { started, ready, completed };  // Ours.

[[nodiscard]] std::string_view to_string(RestartStrategy strategy);
[[nodiscard]] std::string_view to_string(Restart restart);
[[nodiscard]] std::string_view to_string(ChildType type);
[[nodiscard]] std::string_view to_string(AutoShutdown auto_shutdown);
[[nodiscard]] std::string_view to_string(OnExhausted on_exhausted);
[[nodiscard]] std::string_view to_string(DependencyCondition condition);

struct BrutalKill {
  friend bool operator==(BrutalKill, BrutalKill) { return true; }
};
struct Infinity {
  friend bool operator==(Infinity, Infinity) { return true; }
};
using Shutdown = std::variant<BrutalKill, Duration,
                              Infinity>;  // A duration is from request to kill; 0 is legal.

struct Dependency {
  std::string id;  // A sibling.
  DependencyCondition condition = DependencyCondition::ready;
};

struct SupervisorSpec;

struct ChildSpec {
  std::string id;
  std::optional<unsigned> instance;  // Which of `instances` it is, from 1.
  // One of the two: a worker runs a service, a supervisor child is a tree of its own.
  std::shared_ptr<const ServiceSpec> service;
  std::shared_ptr<const SupervisorSpec> supervisor;
  std::string executor = "process";

  Restart restart = Restart::permanent;
  std::optional<Shutdown> shutdown;  // Nothing: 5 s for workers, infinity for supervisors.
  bool significant = false;
  // Ours: from launch to ready; then the start has failed. Of a supervisor child it is not used:
  // the children below have their own.
  Duration start_timeout = std::chrono::seconds{60};
  // Ours: one whose thread is stuck (ExitKind::stuck) may be restarted beside it. Else it has
  // failed for good: the two would share what one service may have alone.
  bool allow_overlap = false;
  Backoff::Limits backoff;             // Ours.
  std::vector<Dependency> depends_on;  // Ours: any makes the siblings' start a graph.

  [[nodiscard]] ChildType type() const {
    return supervisor ? ChildType::supervisor : ChildType::worker;
  }
  [[nodiscard]] Shutdown effective_shutdown() const;
};

struct SupervisorSpec {
  RestartStrategy strategy = RestartStrategy::one_for_one;
  std::uint64_t max_restarts = 1;
  Duration period = std::chrono::seconds{5};
  AutoShutdown auto_shutdown = AutoShutdown::never;
  OnExhausted on_exhausted = OnExhausted::escalate;
  Duration probe_interval = std::chrono::seconds{30};
  std::vector<ChildSpec> children;  // simple_one_for_one: exactly one, the template.
};

// Every fault of a spec and of the specs below it, each with its path ("children/2/restart"); empty
// if none. The one place where specs are judged (OTP: check_flags, check_childspec).
struct SpecFault {
  Errc code = Errc::invalid_child_spec;
  std::string where;    // "children/2/significant"
  std::string message;  // What was found, and what would be right.
};
[[nodiscard]] std::vector<SpecFault> check(const SupervisorSpec& spec);

// One child that is to join `parent`; `find_sibling` gives the spec of a sibling, or null. That an
// id is taken is no fault here but an answer of start_child: already_started or already_present.
using FindSibling = std::function<const ChildSpec*(std::string_view id)>;
[[nodiscard]] std::vector<SpecFault> check(const ChildSpec& child, const SupervisorSpec& parent,
                                           const FindSibling& find_sibling);
[[nodiscard]] std::vector<SpecFault> check(const ChildSpec& child, const SupervisorSpec& parent);

// All faults as one error: "children/2/restart: ...; children/3: ...". REQUIRES: not empty.
[[nodiscard]] Error to_error(const std::vector<SpecFault>& faults);

}  // namespace unirun
