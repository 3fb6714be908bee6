#include "tests/simulation/random_tree.h"

#include <memory>
#include <string>
#include <utility>

#include "supervisors/child_spec.h"

namespace unirun::testing {
namespace {

using namespace std::chrono_literals;

template <class T>
T one_of(Random& random, std::initializer_list<T> values) {
  return *(values.begin() + random.below(values.size()));
}

std::shared_ptr<const ServiceSpec> some_service() {
  static const auto service = [] {
    auto spec = std::make_shared<ServiceSpec>();
    spec->target = CommandTarget{{"/bin/service"}};
    return std::shared_ptr<const ServiceSpec>(std::move(spec));
  }();
  return service;
}

Backoff::Limits random_backoff(Random& random) {
  Backoff::Limits backoff;
  if (random.chance(0.5)) return backoff;
  backoff.kind =
      one_of(random, {Backoff::Kind::fixed, Backoff::Kind::linear, Backoff::Kind::exponential});
  backoff.initial = one_of<Duration>(random, {0ms, 100ms, 1s});
  backoff.max = 5s;
  backoff.jitter = one_of(random, {0.0, 0.5, 1.0});
  backoff.stable_after = one_of<Duration>(random, {0s, 1s, 10s});
  return backoff;
}

// To those before it only: so it never closes a circle.
void add_dependencies(Random& random, const SupervisorSpec& parent, ChildSpec& child) {
  for (const ChildSpec& before : parent.children) {
    if (before.restart == Restart::temporary || !random.chance(0.3)) continue;
    auto condition = one_of(random, {DependencyCondition::started, DependencyCondition::ready,
                                     DependencyCondition::completed});
    if (condition == DependencyCondition::completed && before.restart == Restart::permanent) {
      condition = DependencyCondition::ready;
    }
    child.depends_on.push_back({before.id, condition});
  }
}

SupervisorSpec random_supervisor(Random& random, int depth) {
  SupervisorSpec spec;
  const bool dynamic = depth > 0 && random.chance(0.2);
  spec.strategy = dynamic
                      ? RestartStrategy::simple_one_for_one
                      : one_of(random, {RestartStrategy::one_for_one, RestartStrategy::one_for_all,
                                        RestartStrategy::rest_for_one});
  spec.max_restarts = one_of<std::uint64_t>(random, {0, 1, 2, 3, 10, 100});
  spec.period = one_of<Duration>(random, {1s, 5s, 30s});
  spec.auto_shutdown =
      one_of(random, {AutoShutdown::never, AutoShutdown::never, AutoShutdown::any_significant,
                      AutoShutdown::all_significant});
  spec.on_exhausted = random.chance(0.3) ? OnExhausted::probe : OnExhausted::escalate;
  spec.probe_interval = 3s;
  const bool graph = !dynamic && random.chance(0.4);
  const std::uint64_t count = dynamic ? 1 : random.below(6);
  for (std::uint64_t i = 0; i < count; ++i) {
    ChildSpec child = random_worker(random, spec, "c" + std::to_string(i));
    if (!dynamic && depth < 3 && random.chance(depth == 0 ? 0.5 : 0.25)) {
      child.service.reset();
      child.supervisor = std::make_shared<SupervisorSpec>(random_supervisor(random, depth + 1));
      if (child.shutdown && random.chance(0.8)) child.shutdown.reset();
    }
    if (graph) add_dependencies(random, spec, child);
    spec.children.push_back(std::move(child));
  }
  return spec;
}

}  // namespace

ChildSpec random_worker(Random& random, const SupervisorSpec& parent, std::string id) {
  ChildSpec child;
  child.id = std::move(id);
  child.service = some_service();
  child.restart = one_of(
      random, {Restart::permanent, Restart::permanent, Restart::transient, Restart::temporary});
  child.significant = parent.auto_shutdown != AutoShutdown::never &&
                      child.restart != Restart::permanent && random.chance(0.3);
  child.shutdown = one_of<Shutdown>(
      random, {BrutalKill{}, Duration{0}, Duration{500ms}, Duration{2s}, Infinity{}});
  child.start_timeout = one_of<Duration>(random, {500ms, 2s});
  child.backoff = random_backoff(random);
  return child;
}

SupervisorSpec random_tree(Random& random) {
  SupervisorSpec spec;
  do {
    spec = random_supervisor(random, 0);
  } while (spec.children.empty());
  return spec;
}

}  // namespace unirun::testing
