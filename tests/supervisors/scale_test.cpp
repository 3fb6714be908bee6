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
