// Items 1 to 3 and 48: what a spec may say, and how its faults are told.

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

// Every fault as "where: first words".
std::string faults_of(const SupervisorSpec& spec) {
  const auto faults = check(spec);
  return faults.empty() ? "none" : to_error(faults).message;
}

bool tells(const SupervisorSpec& spec, const std::string& words) {
  return faults_of(spec).find(words) != std::string::npos;
}

SupervisorSpec with(ChildSpec child) {
  return supervise(RestartStrategy::one_for_one, {std::move(child)});
}

}  // namespace

TEST_CASE("item 1: every fault of a child spec has its own words and its place") {
  CHECK(faults_of(with(worker("a"))) == "none");

  SUBCASE("missing id") { CHECK(tells(with(worker("")), "children/0/id: missing id")); }
  SUBCASE("an id that would break a path") { CHECK(tells(with(worker("a/b")), "bad id \"a/b\"")); }
  SUBCASE("missing start") {
    ChildSpec child = worker("a");
    child.service.reset();
    CHECK(tells(with(child), "children/0: missing start"));
  }
  SUBCASE("bad start: two at once") {
    ChildSpec child = worker("a");
    child.supervisor = std::make_shared<SupervisorSpec>();
    CHECK(tells(with(child), "bad start: both"));
  }
  SUBCASE("bad start: an empty command") {
    ChildSpec child = worker("a");
    child.service = std::make_shared<ServiceSpec>();
    CHECK(tells(with(child), "children/0/service: bad start: an empty command"));
  }
  SUBCASE("bad restart type") {
    ChildSpec child = worker("a");
    child.restart = static_cast<Restart>(7);
    CHECK(tells(with(child), "children/0/restart: bad restart type"));
  }
  SUBCASE("bad shutdown") {
    ChildSpec child = worker("a");
    child.shutdown = Duration{-1};
    CHECK(tells(with(child), "children/0/shutdown: bad shutdown"));
    child.shutdown = Duration::zero();  // Legal: asked, then killed at once.
    CHECK(faults_of(with(child)) == "none");
  }
  SUBCASE("duplicate id") {
    const auto faults = check(supervise(RestartStrategy::one_for_one, {worker("a"), worker("a")}));
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].code == Errc::duplicate_id);
    CHECK(faults[0].where == "children/1/id");
  }
  SUBCASE("bad backoff") {
    ChildSpec child = worker("a");
    child.backoff.jitter = 1.5;
    CHECK(tells(with(child), "backoff/jitter"));
  }
  SUBCASE("bad start timeout") {
    ChildSpec child = worker("a");
    child.start_timeout = Duration::zero();
    CHECK(tells(with(child), "start_timeout"));
  }
}

TEST_CASE("item 1: all faults come in one report, those of nested supervisors too") {
  SupervisorSpec below = supervise(RestartStrategy::one_for_one, {worker("")});
  below.period = 0s;
  const auto faults = check(
      supervise(RestartStrategy::one_for_one, {worker(""), supervisor("s", std::move(below))}));
  std::vector<std::string> places;
  for (const SpecFault& fault : faults) places.push_back(fault.where);
  CHECK(places == Ids{"children/0/id", "children/1/supervisor/period",
                      "children/1/supervisor/children/0/id"});
}

TEST_CASE("item 1: validation runs before anything starts") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a"), worker("a")}));
  world.start();
  REQUIRE(world.refused);
  CHECK(world.refused->code == Errc::duplicate_id);
  CHECK(world.executor.log.empty());
  CHECK(!world.started);
  CHECK(!world.ended);
}

TEST_CASE("item 2: the defaults are OTP's") {
  const SupervisorSpec flags;
  CHECK(flags.strategy == RestartStrategy::one_for_one);
  CHECK(flags.max_restarts == 1);
  CHECK(flags.period == 5s);
  CHECK(flags.auto_shutdown == AutoShutdown::never);
  const ChildSpec child = worker("a");
  CHECK(child.restart == Restart::permanent);
  CHECK(child.type() == ChildType::worker);
  CHECK(child.effective_shutdown() == Shutdown{Duration{5000ms}});
  CHECK(!child.significant);
  CHECK(supervisor("s", {}).effective_shutdown() == Shutdown{Infinity{}});
}

TEST_CASE("item 3: bad flags are refused, and no child starts") {
  SupervisorSpec spec = with(worker("a"));
  SUBCASE("period") {
    spec.period = 0s;
    CHECK(tells(spec, "period: bad period"));
  }
  SUBCASE("strategy") {
    spec.strategy = static_cast<RestartStrategy>(9);
    CHECK(tells(spec, "strategy: bad strategy"));
  }
  SUBCASE("auto_shutdown") {
    spec.auto_shutdown = static_cast<AutoShutdown>(9);
    CHECK(tells(spec, "auto_shutdown: bad auto_shutdown"));
  }
  World world(spec);
  world.start();
  REQUIRE(world.refused);
  CHECK(world.refused->code == Errc::invalid_supervisor_spec);
  CHECK(world.executor.log.empty());
}

TEST_CASE("item 29: a dynamic supervisor has exactly one template") {
  CHECK(tells(supervise(RestartStrategy::simple_one_for_one, {}), "0 templates"));
  CHECK(tells(supervise(RestartStrategy::simple_one_for_one, {worker("a"), worker("b")}),
              "2 templates"));
}

TEST_CASE("item 48: a significant child must not be permanent, and needs an auto_shutdown") {
  ChildSpec child = worker("a", Restart::transient);
  child.significant = true;
  SupervisorSpec spec = with(child);
  CHECK(tells(spec, "auto_shutdown is never"));
  spec.auto_shutdown = AutoShutdown::any_significant;
  CHECK(faults_of(spec) == "none");
  spec.children[0].restart = Restart::permanent;
  CHECK(tells(spec, "a permanent child never ends"));

  World world(with(worker("a")));
  world.start();
  CHECK(world.start_child("", child)->code() == "invalid_child_spec");
}

TEST_CASE("depends_on: unknown, impossible and circular dependencies are refused") {
  const auto depending = [](std::string id, std::vector<Dependency> on, Restart restart) {
    ChildSpec spec = worker(std::move(id), restart);
    spec.depends_on = std::move(on);
    return spec;
  };
  const auto refused = [](std::vector<ChildSpec> children, const std::string& words) {
    return tells(supervise(RestartStrategy::one_for_one, std::move(children)), words);
  };
  CHECK(refused({depending("a", {{"x"}}, Restart::permanent)}, "no sibling"));
  CHECK(refused({depending("a", {{"a"}}, Restart::permanent)}, "depends on itself"));
  CHECK(refused({worker("t", Restart::temporary), depending("a", {{"t"}}, Restart::permanent)},
                "temporary"));
  CHECK(refused(
      {worker("p"), depending("a", {{"p", DependencyCondition::completed}}, Restart::permanent)},
      "never does"));
  CHECK(refused({worker("free"), depending("a", {{"c"}}, Restart::permanent),
                 depending("b", {{"a"}}, Restart::permanent),
                 depending("c", {{"b"}, {"free"}}, Restart::permanent)},
                "a cycle of dependencies: a -> c -> b -> a"));
  SupervisorSpec dynamic =
      supervise(RestartStrategy::simple_one_for_one, {depending("a", {{"a"}}, Restart::permanent)});
  CHECK(tells(dynamic, "dynamic children have no order"));
}

}  // namespace unirun::testing
