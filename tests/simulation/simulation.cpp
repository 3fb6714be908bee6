// The simulation: the real supervision code in virtual time, under random trees, faults and
// commands, all drawn from one seed, with a Referee who knows the rules.
//
//   simulation --seeds 2000 --steps 200 [--first-seed 1] [--tell 1]: prints every event
//
// A step is one thing that happens to the tree: a timer that fires (a service becomes ready, dies,
// has stopped; a deadline of a supervisor), a death from outside, or a command. Every event is
// judged as it comes; states are compared with what really runs every few steps. The first breach
// ends the run and prints the seed that replays it.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "tests/simulation/random_tree.h"
#include "tests/simulation/referee.h"
#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

constexpr Duration longest_stop = 3s;    // Of a service that stops when it is asked.
constexpr const char* added = "x";       // How the ids of children begin that come by calls.
constexpr Duration longest_kill = 10ms;  // From kill to exit.

class Simulation {
 public:
  Simulation(Random& chance, bool tell)
      : chance_(chance), spec_(random_tree(chance)), referee_(spec_), world_(spec_, chance.next()) {
    world_.subscription = world_.bus.subscribe(EventKinds::all(), [this, tell](const Event& event) {
      if (tell) std::cout << to_json(event).dump() << '\n';
      if (std::holds_alternative<ServiceStarting>(event.payload)) tell_spec(event.path);
      referee_.on_event(event);
    });
    world_.executor.on_touch = [](const std::string&) {};
    world_.executor.script = [this](const Launch& launch) { return draw_behaviour(launch); };
  }

  // Lives for `steps` steps, or until the tree ends by itself; then rests and stops. Takes what it
  // used from `steps`. Empty, or what went wrong.
  std::string run(std::uint64_t& steps) {
    world_.start();
    while (steps > 0 && !world_.ended && ok()) {
      step();
      if (--steps % 16 == 0) referee_.compare(world_.tree.snapshot(), world_.executor);
    }
    if (!world_.ended && ok()) rest();
    if (ok()) end();
    if (!ok()) return referee_.breach();
    if (world_.executor.running() > 0) return "something outlived the tree";
    if (!world_.ended) return "the shutdown did not end within the sum of its timeouts";
    for (const World::Asked& call : calls_) {
      if (call->times != 1) return "a call was answered " + std::to_string(call->times) + " times";
    }
    return {};
  }

 private:
  [[nodiscard]] bool ok() const { return referee_.breach().empty(); }

  Duration up_to(Duration most) {
    return Duration{
        static_cast<Duration::rep>(chance_.below(static_cast<std::uint64_t>(most.count()) + 1))};
  }

  Behaviour draw_behaviour(const Launch& launch) {
    Behaviour behaviour;
    const double start = healed_ ? 0.0 : chance_.unit();
    if (start > 0.97) {
      behaviour.start = Behaviour::Start::ignores;
    } else if (start > 0.90) {
      behaviour.start = Behaviour::Start::fails;
    } else if (start > 0.87) {
      behaviour.start = Behaviour::Start::never;
    } else if (start > 0.83) {
      behaviour.start = Behaviour::Start::over;
      behaviour.dies_of = draw_reason();
      referee_.on_over(launch.run);
    } else if (start > 0.5) {
      behaviour.start = Behaviour::Start::after;
      behaviour.start_delay = up_to(1s);
    }
    const bool over = behaviour.start == Behaviour::Start::over;
    if (!healed_ && !over && chance_.chance(0.4)) {
      behaviour.dies_after = up_to(10s);
      behaviour.dies_of = draw_reason();
    }
    // One that never stops is killed after its timeout; under infinity it would be a bug of its
    // own.
    behaviour.ignores_stop = false;
    behaviour.stop_delay = chance_.chance(0.5) ? 0s : up_to(longest_stop);
    behaviour.kill_delay = chance_.chance(0.5) ? 0s : up_to(longest_kill);
    return behaviour;
  }

  ExitReason draw_reason() {
    switch (chance_.below(6)) {
      case 0: return ExitReason::normal();
      case 1: return ExitReason::shutdown();
      case 2: {
        ExitReason reason = crash();
        reason.permanent_failure = chance_.chance(0.3);
        return reason;
      }
      default: return crash();
    }
  }

  void step() {
    const double what = chance_.unit();
    if (what < 0.75) {
      if (!world_.time.fire_next()) world_.time.advance(1s);
    } else if (what < 0.87) {
      end_some_run();
    } else if (what < 0.999) {
      command();
    } else {
      begin_stop();
    }
  }

  void end_some_run() {
    auto& runs = world_.executor.runs;
    if (runs.empty()) return;
    auto run = runs.begin();
    std::advance(run, static_cast<std::ptrdiff_t>(chance_.below(runs.size())));
    world_.executor.end(run->first, draw_reason());
  }

  // Some supervisor's path and spec, as the tree was drawn; it may be down just now.
  std::pair<std::string, const SupervisorSpec*> some_supervisor() {
    std::string path;
    const SupervisorSpec* at = &spec_;
    for (;;) {
      std::vector<const ChildSpec*> below;
      for (const ChildSpec& child : at->children) {
        if (child.supervisor) below.push_back(&child);
      }
      if (below.empty() || chance_.chance(0.4)) return {path, at};
      const ChildSpec* next = below[chance_.below(below.size())];
      path += (path.empty() ? "" : "/") + next->id;
      at = next->supervisor.get();
    }
  }

  ChildRef some_child(const std::string& path) {
    const auto children = world_.tree.which_children(path);
    if (!children || children->empty() || chance_.chance(0.05)) return std::string("nobody");
    const ChildSnapshot& child = (*children)[chance_.below(children->size())];
    if (child.run != RunId::none && chance_.chance(0.3)) return child.run;
    return child.id;
  }

  // Of a child that was added: a call may wait, and another one be carried out in its place.
  void tell_spec(const std::string& path) {
    const auto [supervisor, id] = split_path(path);
    if (!id.starts_with(added)) return;
    if (const auto spec = world_.tree.get_childspec(supervisor, id)) {
      referee_.on_spec(path, *spec);
    }
  }

  void command() {
    const auto [path, spec] = some_supervisor();
    auto answer = std::make_shared<World::Answer>();
    calls_.push_back(answer);
    const auto reply = World::into(answer);
    auto& tree = world_.tree;
    switch (chance_.below(8)) {
      case 0:
      case 1:
        if (spec->strategy == RestartStrategy::simple_one_for_one) {
          return tree.start_child(path, Arguments{1}, reply);
        } else {
          ChildSpec child = random_worker(chance_, *spec, added + std::to_string(chance_.below(4)));
          return tree.start_child(path, std::move(child), reply);
        }
      case 2: return tree.terminate_child(path, some_child(path), reply);
      case 3: return tree.restart_child(path, some_child(path), reply);
      case 4: return tree.delete_child(path, some_child(path), reply);
      case 5: return tree.restart(path, some_child(path), reply);
      case 6: return tree.kill(path, some_child(path), reply);
      default: return tree.restart_child(path, some_child(path), reply);
    }
  }

  void begin_stop() {
    referee_.on_stop();
    world_.tree.stop(ExitReason::shutdown());
  }

  // From now on every service is healthy; what can recover, has to.
  void rest() {
    healed_ = true;
    world_.advance(10min);
    if (world_.ended) return;
    referee_.compare(world_.tree.snapshot(), world_.executor);
    referee_.at_rest(world_.tree.snapshot());
  }

  // The most that a shutdown may take: one child after the other, each with its whole timeout.
  static Duration patience(const TreeSnapshot& tree) {
    Duration sum{};
    for (const TreeSnapshot& child : tree.children) {
      sum += longest_stop + longest_kill + patience(child);
    }
    return sum;
  }

  void end() {
    if (world_.ended) return;
    const Duration enough = patience(world_.tree.snapshot());
    begin_stop();
    world_.advance(enough);
  }

  Random& chance_;
  SupervisorSpec spec_;
  Referee referee_;
  World world_;
  bool healed_ = false;
  std::vector<World::Asked> calls_;
};

std::uint64_t number(const std::string& name, const char* text) {
  char* end = nullptr;
  const auto value = std::strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0') {
    std::cerr << "simulation: " << name << " is a number, and not " << text << '\n';
    std::exit(2);
  }
  return value;
}

// One seed: tree after tree, until all steps are made.
std::string live(std::uint64_t seed, std::uint64_t steps, bool tell) {
  Random chance(seed);
  while (steps > 0) {
    Simulation simulation(chance, tell);
    if (std::string breach = simulation.run(steps); !breach.empty()) return breach;
    if (steps > 0) --steps;  // A tree that could not even start has used none.
  }
  return {};
}

int simulate(std::uint64_t first, std::uint64_t seeds, std::uint64_t steps, bool tell) {
  const SystemClock clock;
  const Instant begin = clock.now();
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    if (const std::string breach = live(seed, steps, tell); !breach.empty()) {
      std::cout << "seed " << seed << ": " << breach << "\nreplay: simulation --first-seed " << seed
                << " --seeds 1 --steps " << steps << " --tell 1\n";
      return 1;
    }
  }
  const double seconds = std::chrono::duration<double>(clock.now() - begin).count();
  std::cout << seeds << " seeds of " << steps << " steps: every rule kept; "
            << static_cast<std::uint64_t>(static_cast<double>(seeds * steps) / seconds)
            << " steps a second\n";
  return 0;
}

}  // namespace
}  // namespace unirun::testing

int main(int argc, char** argv) {
  std::uint64_t first = 1;
  std::uint64_t seeds = 2000;
  std::uint64_t steps = 200;
  std::uint64_t tell = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    auto* value = name == "--first-seed" ? &first
                  : name == "--seeds"    ? &seeds
                  : name == "--steps"    ? &steps
                  : name == "--tell"     ? &tell
                                         : nullptr;
    if (!value || ++i == argc) {
      std::cerr << "usage: simulation [--seeds N] [--steps M] [--first-seed S] [--tell 1]\n";
      return 2;
    }
    *value = unirun::testing::number(name, argv[i]);
  }
  return unirun::testing::simulate(first, seeds, steps, tell != 0);
}
