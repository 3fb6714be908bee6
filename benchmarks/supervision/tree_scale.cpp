// What supervision itself costs a child, in bytes and in microseconds: trees of services that do
// nothing, on simulated time, so that nothing but supervisors/ is measured.
//
// usage: tree_scale [COUNT ...]     1000 10000 100000 if none is given
//
// "list" is one_for_one over instances of one service, "dynamic" is simple_one_for_one filled by
// start_child. Memory is what malloc has handed out; "spec" is the part of it that the specs take.

#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/event_bus.h"
#include "framework/random.h"
#include "framework/simulated_time.h"
#include "supervisors/supervision_tree.h"
#include "supervisors/supervision_world.h"

namespace {

using namespace unirun;

// Every run is ready at once and ends when asked, a little later. It keeps one observer for all.
class IdleExecutor final : public Executor {
 public:
  LaunchOutcome launch(const Launch& launch, RunObserver& observer) override {
    observer_ = &observer;
    last_ = launch.run;
    ++running_;
    LaunchOutcome outcome;
    outcome.state = LaunchOutcome::State::running;
    return outcome;
  }
  void request_stop(RunId run) override { ending_.push_back(run); }
  void kill(RunId run) override { ending_.push_back(run); }
  [[nodiscard]] std::size_t running() const override { return running_; }

  void end_those_asked() {
    while (!ending_.empty()) {
      for (const RunId run : std::exchange(ending_, {})) end(run, ExitReason::shutdown());
    }
  }
  void end(RunId run, ExitReason reason) {
    --running_;
    observer_->on_exited(run, std::move(reason));
  }
  [[nodiscard]] RunId last() const { return last_; }

 private:
  RunObserver* observer_ = nullptr;
  RunId last_{};
  std::size_t running_ = 0;
  std::vector<RunId> ending_;
};

struct Tree {
  explicit Tree(std::shared_ptr<const SupervisorSpec> spec)
      : tree({time, time, random, bus, executors, runs}, std::move(spec)) {
    executors.add("idle", executor);
    if (const Status accepted = tree.start({}, {}); !accepted) {
      std::fprintf(stderr, "%s\n", accepted.error().message.c_str());
      std::exit(1);
    }
  }

  SimulatedTime time;
  Random random{1};
  EventBus bus{time};
  Executors executors;
  RunIds runs;
  IdleExecutor executor;
  SupervisionTree tree;
};

std::size_t allocated() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

class Cost {
 public:
  explicit Cost(std::size_t count) : count_(static_cast<double>(count)) {}

  // Of this process's CPU: other jobs do not count.
  template <class Work>
  void microseconds(double& to, Work work) const {
    const std::clock_t begin = std::clock();
    work();
    to = static_cast<double>(std::clock() - begin) * 1e6 / CLOCKS_PER_SEC / count_;
  }
  [[nodiscard]] double bytes_since(std::size_t before) const {
    return static_cast<double>(allocated() - before) / count_;
  }

 private:
  double count_;
};

ChildSpec service(std::string id) {
  ChildSpec child;
  child.id = std::move(id);
  child.executor = "idle";
  auto spec = std::make_shared<ServiceSpec>();
  spec->target = NativeTarget{"idle"};
  child.service = std::move(spec);
  return child;
}

std::shared_ptr<const SupervisorSpec> spec_of(RestartStrategy strategy, std::size_t instances) {
  auto spec = std::make_shared<SupervisorSpec>();
  spec->strategy = strategy;
  spec->max_restarts = 1'000'000'000;
  const ChildSpec one = service("service");
  if (strategy == RestartStrategy::simple_one_for_one) instances = 1;
  spec->children.reserve(instances);
  for (std::size_t n = 1; n <= instances; ++n) {
    spec->children.push_back(one);
    spec->children.back().id += "-" + std::to_string(n);
  }
  return spec;
}

void crash_each(Tree& tree, std::size_t count, RunId first) {
  ExitReason reason = ExitReason::of(ExitKind::exit_code);
  reason.exit_code = 1;
  const auto number = static_cast<std::uint64_t>(first);
  for (std::size_t n = 0; n < count; ++n) tree.executor.end(RunId{number + n}, reason);
}

void measure(RestartStrategy strategy, std::size_t count) {
  const bool dynamic = strategy == RestartStrategy::simple_one_for_one;
  const Cost cost(count);
  double start = 0, death = 0, which = 0, snapshot = 0, stop = 0;
  const std::size_t empty = allocated();
  auto spec = spec_of(strategy, count);
  const double spec_bytes = cost.bytes_since(empty);

  std::unique_ptr<Tree> tree;
  cost.microseconds(start, [&] {
    tree = std::make_unique<Tree>(std::move(spec));
    for (std::size_t n = 0; dynamic && n < count; ++n) tree->tree.start_child("", Arguments{}, {});
  });
  ::malloc_trim(0);
  const double bytes = cost.bytes_since(empty);
  const RunId first{static_cast<std::uint64_t>(tree->executor.last()) + 1 - count};
  cost.microseconds(death, [&] { crash_each(*tree, count, first); });
  const double bytes_later = cost.bytes_since(empty);
  cost.microseconds(which, [&] { static_cast<void>(tree->tree.which_children("")); });
  cost.microseconds(snapshot, [&] { static_cast<void>(tree->tree.snapshot()); });
  cost.microseconds(stop, [&] {
    tree->tree.stop();
    tree->executor.end_those_asked();
  });
  if (!tree->tree.ended()) std::puts("not ended");
  std::printf("%-8s %8zu %8.0f %8.0f %10.0f %8.2f %8.2f %8.2f %8.2f %8.2f\n",
              dynamic ? "dynamic" : "list", count, spec_bytes, bytes, bytes_later, start, death,
              which, snapshot, stop);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> counts;
  for (int i = 1; i < argc; ++i) counts.push_back(std::strtoul(argv[i], nullptr, 10));
  if (counts.empty()) counts = {1'000, 10'000, 100'000};
  std::puts("                   bytes a child                microseconds a child");
  std::puts(
      "tree     children     spec      all  restarted    start  restart    which snapshot     "
      "stop");
  for (const auto strategy : {RestartStrategy::one_for_one, RestartStrategy::simple_one_for_one}) {
    for (const std::size_t count : counts) measure(strategy, count);
  }
  return 0;
}
