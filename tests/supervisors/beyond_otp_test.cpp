// What OTP's supervisor has not: dependencies, backoff, giving up slowly.

#include <doctest/doctest.h>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

ChildSpec after(std::string id, std::vector<Dependency> on, Restart restart = Restart::permanent) {
  ChildSpec spec = worker(std::move(id), restart);
  spec.depends_on = std::move(on);
  return spec;
}

// db and cache, then api on both, then web on api; and one that stands alone.
SupervisorSpec shop(RestartStrategy strategy) {
  return supervise(strategy, {worker("db"), worker("cache"), after("api", {{"db"}, {"cache"}}),
                              after("web", {{"api"}}), worker("alone")});
}

Backoff::Limits fixed(Duration delay, Duration stable_after = 10s) {
  Backoff::Limits limits;
  limits.kind = Backoff::Kind::fixed;
  limits.initial = delay;
  limits.stable_after = stable_after;
  return limits;
}

}  // namespace

TEST_CASE("depends_on: the start is as parallel as it allows, the stop its reverse") {
  World world(shop(RestartStrategy::one_for_one));
  for (const char* id : {"db", "cache", "api"}) world.executor.behaviours[id] = slow(1s);
  for (const char* id : {"db", "web", "api"}) world.executor.behaviours[id].stop_delay = 1s;
  world.start();
  CHECK(world.touched() == Ids{"start db", "start cache", "start alone", "ready alone"});
  CHECK(world.tree.find("api")->waiting_for == Ids{"db", "cache"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"ready db", "ready cache", "start api"});
  CHECK(!world.started);
  world.advance(1s);
  CHECK(world.touched() == Ids{"ready api", "start web", "ready web"});
  CHECK(world.started);
  world.tree.stop();
  world.settle();
  CHECK(world.touched() == Ids{"stop alone", "stop web", "exit alone"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit web", "stop api"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit api", "stop cache", "stop db", "exit cache"});
  world.advance(1s);
  CHECK(world.ended);
}

TEST_CASE("depends_on: each condition waits for what it says") {
  World world(supervise(RestartStrategy::one_for_one,
                        {worker("job", Restart::transient),
                         after("on_start", {{"job", DependencyCondition::started}}),
                         after("on_ready", {{"job", DependencyCondition::ready}}),
                         after("on_end", {{"job", DependencyCondition::completed}})}));
  world.executor.behaviours["job"] = slow(1s);
  world.start();
  CHECK(world.touched() == Ids{"start job", "start on_start", "ready on_start"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"ready job", "start on_ready", "ready on_ready"});
  CHECK(!world.started);
  world.exit("job", ExitReason::normal());
  CHECK(world.touched() == Ids{"exit job", "start on_end", "ready on_end"});
  CHECK(world.started);
  world.exit("on_ready");  // A job that is done is good enough for whoever comes back.
  CHECK(world.touched() == Ids{"exit on_ready", "start on_ready", "ready on_ready"});
}

TEST_CASE(
    "depends_on: under one_for_one a dependent that must come back waits for its dependency") {
  SupervisorSpec spec = shop(RestartStrategy::one_for_one);
  spec.children[0].backoff = fixed(5s);
  World world(spec);
  started(world, 10s).exit("db");
  CHECK(world.state("api") == ServiceState::running);  // It keeps its identity.
  world.exit("api");
  CHECK(world.state("api") == ServiceState::starting);
  CHECK(world.tree.find("api")->waiting_for == Ids{"db"});
  CHECK(world.touched() == Ids{"exit db", "exit api"});
  world.advance(5s);
  CHECK(world.touched() == Ids{"start db", "ready db", "start api", "ready api"});
}

TEST_CASE("depends_on: rest_for_one takes the dead one and its dependents, direct or not") {
  World world(shop(RestartStrategy::rest_for_one));
  started(world, 10s).exit("db");
  CHECK(world.touched() == Ids{"exit db", "stop web", "exit web", "stop api", "exit api",
                               "start db", "ready db", "start api", "ready api", "start web",
                               "ready web"});
}

TEST_CASE("depends_on: a group's dependents come back when the failed one recovers") {
  SupervisorSpec spec = shop(RestartStrategy::rest_for_one);
  spec.children[0].backoff = fixed(1s);
  World world(spec);
  started(world, 10s);
  world.executor.behaviours["db"] = failing();
  world.exit("db");
  world.advance(3s + 1ms);
  CHECK(world.touched("start") == Ids{"db", "db", "db"});
  CHECK(world.state("alone") == ServiceState::running);
  world.forget();
  world.executor.behaviours.clear();
  world.advance(1s);
  CHECK(world.touched("start") == Ids{"db", "api", "web"});
}

TEST_CASE("depends_on: a child that others need is not deleted from under them") {
  World world(shop(RestartStrategy::one_for_one));
  started(world, 10s);
  CHECK(world.terminate("", "db")->ok());
  CHECK(world.delete_child("", "db")->code() == "invalid_argument");
  CHECK(world.restart_child("", "db")->ok());
  CHECK(world.start_child("", after("more", {{"web"}}))->ok());
}

TEST_CASE("backoff: the wait is before the restart, and told") {
  SupervisorSpec spec = supervise(RestartStrategy::one_for_one, {worker("a")});
  spec.children[0].backoff.kind = Backoff::Kind::exponential;
  spec.children[0].backoff.initial = 1s;
  World world(spec);
  started(world, 10s).exit("a");
  CHECK(world.touched() == Ids{"exit a"});
  CHECK(world.state("a") == ServiceState::backing_off);
  CHECK(*world.tree.find("a")->retry_at == world.time.now() + 1s);
  CHECK(world.last<ServiceBackingOff>()->delay == 1s);
  world.advance(1s);
  CHECK(world.state("a") == ServiceState::running);
  world.exit("a");
  CHECK(world.last<ServiceBackingOff>()->delay == 2s);
  CHECK(world.last<ServiceBackingOff>()->attempt == 2);
}

TEST_CASE("backoff: a group stops first, then waits, then starts") {
  SupervisorSpec spec =
      supervise(RestartStrategy::one_for_all, {worker("a"), worker("b"), worker("c")});
  spec.children[1].backoff = fixed(3s);
  World world(spec);
  world.executor.behaviours["c"].stop_delay = 1s;
  started(world, 10s).exit("b");
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit b", "stop c", "exit c", "stop a", "exit a"});
  CHECK(world.state("b") == ServiceState::backing_off);
  CHECK(world.tree.find("a")->waiting_for == Ids{"b"});
  world.advance(3s - 1ns);
  CHECK(world.touched().empty());
  world.advance(1ns);
  CHECK(world.touched("start") == Ids{"a", "b", "c"});
}

TEST_CASE("backoff: a healthy run of stable_after forgets the failures before it") {
  SupervisorSpec spec = supervise(RestartStrategy::one_for_one, {worker("a")});
  spec.children[0].backoff.kind = Backoff::Kind::linear;
  spec.children[0].backoff.initial = 1s;
  spec.children[0].backoff.stable_after = 10s;
  World world(spec);
  started(world, 10s).exit("a");
  world.advance(1s);
  world.exit("a");
  CHECK(world.tree.find("a")->failures == 2);
  world.advance(2s);
  world.advance(10s - 1ns);
  world.exit("a");
  CHECK(world.tree.find("a")->failures == 3);
  world.advance(3s);
  world.advance(10s);
  world.exit("a");
  CHECK(world.tree.find("a")->failures == 1);
}

TEST_CASE("on_exhausted probe: one slow try at a time, until one stays up") {
  SupervisorSpec spec =
      supervise(RestartStrategy::one_for_one, {worker("a"), worker("b"), worker("c")});
  spec.max_restarts = 1;
  spec.on_exhausted = OnExhausted::probe;
  spec.probe_interval = 30s;
  World world(spec);
  started(world, 10s);
  world.executor.behaviours["a"] = failing();
  world.executor.behaviours["b"] = failing();
  world.exit("a");  // One restart, which fails; its retry is one too many.
  CHECK(!world.ended);
  CHECK(world.tree.snapshot_of("")->probing);
  CHECK(world.last<SupervisorProbing>()->interval == 30s);
  world.exit("b");
  CHECK(world.state("b") == ServiceState::backing_off);
  CHECK(world.state("c") == ServiceState::running);
  world.forget();
  world.advance(30s);
  CHECK(world.touched() == Ids{"start a", "fail a"});
  world.advance(30s);
  CHECK(world.touched() == Ids{"start b", "fail b"});
  world.executor.behaviours.clear();
  world.advance(30s);
  CHECK(world.touched() == Ids{"start a", "ready a"});
  CHECK(world.last<ServiceStarting>()->cause == StartCause::probe);
  CHECK(world.count(EventKind::supervisor_recovered) == 0);
  world.advance(10s);  // stable_after: it stayed up, and the other follows at once.
  CHECK(world.count(EventKind::supervisor_recovered) == 1);
  CHECK(world.touched() == Ids{"start b", "ready b"});
  CHECK(!world.tree.snapshot_of("")->probing);
  CHECK(world.tree.snapshot_of("")->recent_restarts == 0);
}

TEST_CASE("on_exhausted probe: a group is tried as a whole") {
  SupervisorSpec spec = supervise(RestartStrategy::one_for_all, {worker("a"), worker("b")});
  spec.max_restarts = 0;
  spec.on_exhausted = OnExhausted::probe;
  spec.probe_interval = 30s;
  World world(spec);
  started(world, 10s).exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop a", "exit a"});
  world.advance(30s);
  CHECK(world.touched("start") == Ids{"a", "b"});
  world.exit("a");  // Too soon: the next try is a whole interval away.
  world.forget();
  world.advance(30s - 1ns);
  CHECK(world.touched("start").empty());
  world.advance(1ns);
  CHECK(world.touched("start") == Ids{"a", "b"});
  world.advance(10s);
  CHECK(world.count(EventKind::supervisor_recovered) == 1);
}

TEST_CASE("kill is answered when the run is dead, with what came of it") {
  World world(
      supervise(RestartStrategy::one_for_one, {worker("a"), worker("once", Restart::temporary)}));
  world.executor.behaviours["a"].kill_delay = 1s;
  world.start();
  const RunId before = world.tree.find("a")->run;
  const auto killed = world.ask([&](auto reply) { world.tree.kill("", ChildRef{"a"}, reply); });
  CHECK(killed->times == 0);
  world.advance(1s);
  REQUIRE(killed->ok());
  CHECK(killed->value->value().run != before);
  CHECK(killed->value->value().state == ServiceState::starting);  // Decided, and about to be done.

  const auto gone = world.ask([&](auto reply) { world.tree.kill("", ChildRef{"once"}, reply); });
  REQUIRE(gone->ok());
  CHECK(gone->value->value().state == ServiceState::stopped);
  CHECK(!world.knows("once"));
}

TEST_CASE("a stuck service is not restarted beside its abandoned thread") {
  ChildSpec spec = worker("a");
  SUBCASE("by itself: it went silent") {
    World world(supervise(RestartStrategy::one_for_one, {spec, worker("b")}));
    started(world, 10s).exit("a", stuck());
    CHECK(world.touched("start").empty());
    CHECK(world.state("a") == ServiceState::failed);
    CHECK(world.count(EventKind::service_failed) == 1);
    CHECK(world.tree.find("a")->last_exit->permanent_failure);
  }
  SUBCASE("in a restart by command, which says so") {
    World world(supervise(RestartStrategy::one_for_one, {spec}));
    world.executor.behaviours["a"].ignores_stop = true;
    started(world, 10s);
    const auto restarted = world.restart("", ChildRef{"a"});
    world.exit("a", stuck());
    REQUIRE(restarted->times == 1);
    CHECK(!restarted->ok());
    CHECK(restarted->value->error().message.find("was not started again: stuck") !=
          std::string::npos);
    CHECK(world.touched("start").empty());
    CHECK(world.state("a") == ServiceState::failed);
  }
  SUBCASE("in a group, whose others come back") {
    World world(supervise(RestartStrategy::one_for_all, {spec, worker("b")}));
    world.executor.behaviours["a"].ignores_stop = true;
    started(world, 10s).exit("b");
    world.exit("a", stuck());
    CHECK(world.touched("start") == Ids{"b"});
    CHECK(world.state("a") == ServiceState::failed);
    CHECK(world.state("b") == ServiceState::running);
  }
  SUBCASE("while its start is given up") {
    spec.start_timeout = 1s;
    World world(supervise(RestartStrategy::one_for_one, {spec}));
    started(world, 10s);
    world.executor.behaviours["a"].start = Behaviour::Start::never;
    world.executor.behaviours["a"].kill_delay = 1h;
    world.exit("a");
    world.advance(1s);
    world.exit("a", stuck());
    CHECK(world.state("a") == ServiceState::failed);
    CHECK(world.tree.find("a")->last_exit->kind == ExitKind::stuck);
  }
  SUBCASE("unless that is allowed") {
    spec.allow_overlap = true;
    World world(supervise(RestartStrategy::one_for_one, {spec}));
    started(world, 10s).exit("a", stuck());
    CHECK(world.touched("start") == Ids{"a"});
    CHECK(world.state("a") == ServiceState::running);
  }
}

TEST_CASE("a stuck service holds up no shutdown, and its operator may start it all the same") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a"), worker("b")}));
  world.executor.behaviours["a"].ignores_stop = true;
  started(world, 10s);
  SUBCASE("shutdown") {
    world.tree.stop(ExitReason::shutdown());
    world.exit("a", stuck());
    CHECK(world.ended.has_value());
  }
  SUBCASE("a command") {
    world.exit("a", stuck());
    CHECK(world.restart_child("", ChildRef{"a"})->ok());
    CHECK(world.state("a") == ServiceState::running);
  }
}

}  // namespace unirun::testing
