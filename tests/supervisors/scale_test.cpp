// Item 54: what much costs. Judged by ratios with wide bounds, never by absolute times.

#include <doctest/doctest.h>
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <ctime>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

// Of this process's CPU, which a busy machine lengthens less than the wall's; the least of a few
// tries, because noise only ever adds.
template <class Work>
double seconds(Work work) {
  double least = 1e9;
  for (int i = 0; i < 5; ++i) {
    const std::clock_t before = std::clock();
    work();
    least = std::min(least, static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC);
  }
  return least;
}

SupervisorSpec many(RestartStrategy strategy, int count) {
  std::vector<ChildSpec> children;
  for (int i = 0; i < count; ++i) children.push_back(worker("w" + std::to_string(i)));
  SupervisorSpec spec = supervise(strategy, std::move(children));
  spec.max_restarts = 1'000'000;
  return spec;
}

void quiet(World& world) {
  world.subscription.reset();
  world.executor.on_touch = [](const std::string&) {};
}

void start_and_stop(int count) {
  World world(many(RestartStrategy::one_for_one, count));
  quiet(world);
  world.start();
  REQUIRE(world.executor.running() == static_cast<std::size_t>(count));
  world.tree.stop();
  world.settle();
  REQUIRE(world.ended);
}

void terminate_dynamic(int count) {
  World world(supervise(RestartStrategy::simple_one_for_one, {worker("w", Restart::temporary)}));
  quiet(world);
  world.start();
  for (int i = 0; i < count; ++i) world.tree.start_child("", Arguments{i}, {});
  for (int i = 1; i <= count; ++i) {
    world.tree.terminate_child("", "w-" + std::to_string(i), {});
  }
  world.settle();
  REQUIRE(world.tree.which_children("")->empty());
}

void crash_all(RestartStrategy strategy, int count) {
  World world(many(strategy, count));
  quiet(world);
  world.start();
  std::vector<RunId> runs;
  for (const auto& [run, service] : world.executor.runs) runs.push_back(run);
  for (const RunId run : runs) world.executor.end(run, crash());
  world.settle();
  REQUIRE(world.executor.running() == static_cast<std::size_t>(count));
}

// What it costs to add and take away 1,000 children of a dynamic supervisor that has `count`.
double come_and_go_beside(int count) {
  World world(supervise(RestartStrategy::simple_one_for_one, {worker("w", Restart::temporary)}));
  quiet(world);
  world.start();
  for (int i = 0; i < count; ++i) world.tree.start_child("", Arguments{}, {});
  int last = count;
  return seconds([&] {
    const int first = last + 1;
    for (int i = 0; i < 1'000; ++i, ++last) world.tree.start_child("", Arguments{}, {});
    for (int i = first; i <= last; ++i) {
      world.tree.terminate_child("", "w-" + std::to_string(i), {});
    }
    world.settle();
  });
}

// Runs that take no memory, so that what is counted is the supervisor's own.
struct WeightlessExecutor final : Executor {
  LaunchOutcome launch(const Launch&, RunObserver&) override {
    LaunchOutcome outcome;
    outcome.state = LaunchOutcome::State::running;
    return outcome;
  }
  void request_stop(RunId) override {}
  void kill(RunId) override {}
  [[nodiscard]] std::size_t running() const override { return 0; }
};

// 10 for what is linear, 100 for what is quadratic. The larger table leaves the caches, so even the
// linear costs some 13 here.
constexpr double most = 40.0;

}  // namespace

TEST_CASE("item 54: start and stop of 10,000 static children cost about 10 times those of 1,000") {
  const double few = seconds([] { start_and_stop(1'000); });
  const double lots = seconds([] { start_and_stop(10'000); });
  MESSAGE("1,000: " << few << " s, 10,000: " << lots << " s, ratio " << lots / few);
  CHECK(lots < few * most);
}

TEST_CASE("item 54: so does the termination of temporary dynamic children") {
  const double few = seconds([] { terminate_dynamic(1'000); });
  const double lots = seconds([] { terminate_dynamic(10'000); });
  MESSAGE("1,000: " << few << " s, 10,000: " << lots << " s, ratio " << lots / few);
  CHECK(lots < few * most);
}

TEST_CASE("item 54: so does a death of all at once, under one_for_one and in a group") {
  for (const auto strategy : {RestartStrategy::one_for_one, RestartStrategy::one_for_all}) {
    CAPTURE(to_string(strategy));
    const double few = seconds([=] { crash_all(strategy, 1'000); });
    const double lots = seconds([=] { crash_all(strategy, 10'000); });
    MESSAGE(to_string(strategy) << ": 1,000: " << few << " s, 10,000: " << lots << " s, ratio "
                                << lots / few);
    CHECK(lots < few * most);
  }
}

TEST_CASE("item 54: start_child and terminate_child hardly look at how many siblings there are") {
  const double few = come_and_go_beside(1'000);
  const double lots = come_and_go_beside(100'000);
  MESSAGE("beside 1,000: " << few << " s, beside 100,000: " << lots << " s, ratio " << lots / few);
  CHECK(lots < few * most);  // 100 for what is linear.
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // They have no mallinfo2.
TEST_CASE("a child at rest takes less than 700 bytes, its spec included, and its service nothing") {
  constexpr std::size_t count = 10'000;
  const auto service = worker("w").service;
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  auto shared = std::make_shared<SupervisorSpec>();
  shared->children.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    ChildSpec child;
    child.id = "worker-" + std::to_string(i);
    child.service = service;
    shared->children.push_back(std::move(child));
  }
  SimulatedTime time;
  Random random(1);
  EventBus bus(time);
  RunIds runs;
  WeightlessExecutor executor;
  Executors executors;
  executors.add("process", executor);
  SupervisionTree tree({time, time, random, bus, executors, runs}, std::move(shared));
  REQUIRE(tree.start({}, {}).ok());
  REQUIRE(tree.count_children("")->active == count);
  const std::size_t each = (mallinfo2().uordblks + mallinfo2().hblkhd - before) / count;
  MESSAGE(each << " bytes a child");
  CHECK(each < 700);
}
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int restarts =
    20'000;  // Slow here, and there is no mallinfo2 to ask: it just has to run.
#else
constexpr int restarts = 1'000'000;
#endif

TEST_CASE("a million restarts leave memory flat, in a list, in a group and of temporary children") {
  World world(supervise(RestartStrategy::one_for_one,
                        {supervisor("list", many(RestartStrategy::one_for_one, 3)),
                         supervisor("group", many(RestartStrategy::rest_for_one, 3)),
                         supervisor("dynamic", supervise(RestartStrategy::simple_one_for_one,
                                                         {worker("t", Restart::temporary)}))}));
  quiet(world);
  world.start();
  const auto live_some = [&](int count) {
    for (int i = 0; i < count; i += 3) {
      world.advance(1s);  // At 5 s a period, the window holds a handful.
      world.exit("list/w1");
      world.exit("group/w2");
      world.tree.start_child("dynamic", Arguments{i}, {});
      const auto children = world.tree.which_children("dynamic");
      for (const ChildSnapshot& child : children.value()) {
        world.exit(child.path);
      }
    }
  };
  live_some(restarts / 10);  // Everything has its size now.
  const std::size_t before = mallinfo2().uordblks;
  live_some(restarts);
  const std::size_t after = mallinfo2().uordblks;
  MESSAGE(before << " bytes before, " << after << " after " << restarts << " more restarts");
  CHECK(after < before + 16 * 1024);
  CHECK(world.tree.find("list/w1")->restarts >= static_cast<std::uint64_t>(restarts) / 3);
}

}  // namespace unirun::testing
