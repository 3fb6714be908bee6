// Items 4 to 9 (start), 35 to 40 (stop) and 47.

#include <doctest/doctest.h>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

SupervisorSpec three(RestartStrategy strategy = RestartStrategy::one_for_one) {
  return supervise(strategy, {worker("a"), worker("b"), worker("c")});
}

}  // namespace

TEST_CASE("item 4: a supervisor has started only when every child has") {
  World world(three());
  world.executor.behaviours["c"] = slow(2s);
  world.start();
  CHECK(!world.started);
  world.advance(2s - 1ns);
  CHECK(!world.started);
  world.advance(1ns);
  REQUIRE(world.started);
  CHECK(world.started->ok());
}

TEST_CASE("item 5: child i+1 is not touched until child i is ready") {
  World world(three());
  world.executor.behaviours["a"] = slow(1s);
  world.executor.behaviours["b"] = slow(1s);
  world.start();
  CHECK(world.touched() == Ids{"start a"});
  CHECK(world.state("a") == ServiceState::starting);
  CHECK(world.state("b") == ServiceState::starting);
  CHECK(world.tree.find("b")->waiting_for == Ids{"a"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"ready a", "start b"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"ready b", "start c", "ready c"});
}

TEST_CASE("who has come and gone at once did not fail to start, and was never running") {
  Behaviour over;
  over.start = Behaviour::Start::over;
  over.dies_of = ExitReason::normal();

  SUBCASE("a transient one has completed, and the others start") {
    World world(supervise(RestartStrategy::rest_for_one,
                          {worker("migrate", Restart::transient), worker("api")}));
    world.executor.behaviours["migrate"] = over;
    world.start();
    REQUIRE(world.started);
    CHECK(world.started->ok());
    CHECK(world.state("migrate") == ServiceState::completed);
    CHECK(world.state("api") == ServiceState::running);
    for (const Event& event : world.events) {
      if (event.kind() == EventKind::service_started) CHECK(event.path != "migrate");
    }
  }
  SUBCASE("a permanent one is restarted like any that dies, and costs intensity") {
    SupervisorSpec spec = supervise(RestartStrategy::one_for_one, {worker("loop")});
    spec.max_restarts = 3;
    World world(spec);
    world.executor.behaviours["loop"] = over;
    world.start();
    REQUIRE(world.started);
    CHECK(world.started->ok());
    REQUIRE(world.ended);
    CHECK(world.ended->kind == ExitKind::shutdown);
    CHECK(world.touched("start") == Ids{"loop", "loop", "loop", "loop"});
  }
}

TEST_CASE("item 6: launch may answer running, starting, ignored or failed") {
  World world(three());
  world.executor.behaviours["b"].start = Behaviour::Start::ignores;
  world.start();
  REQUIRE(world.started);
  CHECK(world.started->ok());
  CHECK(world.state("a") == ServiceState::running);
  CHECK(world.state("b") == ServiceState::completed);
  CHECK(world.state("c") == ServiceState::running);
}

TEST_CASE("item 6: an executor that is not there is a failed start, told by name") {
  SupervisorSpec spec = three();
  spec.children[1].executor = "thread";
  World world(spec);
  world.start();
  REQUIRE(world.started);
  CHECK(world.started->error().message.find(
            "no executor is called \"thread\"; there is: process") != std::string::npos);
}

TEST_CASE("item 7: ignore keeps the spec, unless the child is temporary") {
  SupervisorSpec spec = three();
  spec.children[1].restart = Restart::temporary;
  World world(spec);
  world.executor.behaviours["a"].start = Behaviour::Start::ignores;
  world.executor.behaviours["b"].start = Behaviour::Start::ignores;
  world.start();
  CHECK(world.knows("a"));
  CHECK(world.tree.find("a")->run == RunId::none);
  CHECK(!world.knows("b"));
  CHECK(world.restart_child("", "a")->code() == "ok");
}

TEST_CASE("item 8: a failed child of the initial start undoes it, in reverse, with no retry") {
  World world(three());
  world.executor.behaviours["c"] = failing();
  world.start();
  CHECK(world.touched() == Ids{"start a", "ready a", "start b", "ready b", "start c", "fail c",
                               "stop b", "exit b", "stop a", "exit a"});
  REQUIRE(world.started);
  CHECK(world.started->error().code == Errc::start_failed);
  REQUIRE(world.ended);
  CHECK(world.ended->kind == ExitKind::shutdown);
  CHECK(world.ended->detail.find("failed_to_start_child \"c\"") == 0);
  CHECK(world.count(EventKind::supervisor_started) == 0);
}

TEST_CASE("item 8: a child that is not ready in time has failed to start, and is killed") {
  SupervisorSpec spec = three();
  spec.children[1].start_timeout = 3s;
  World world(spec);
  world.executor.behaviours["b"].start = Behaviour::Start::never;
  world.start();
  world.advance(3s);
  CHECK(world.touched() ==
        Ids{"start a", "ready a", "start b", "kill b", "exit b", "stop a", "exit a"});
  REQUIRE(world.last<ServiceExited>());
  REQUIRE(world.ended);
  CHECK(world.ended->detail.find("not ready within 3s") != std::string::npos);
}

TEST_CASE(
    "item 8: a nested supervisor that fails to start is a failed start of its parent's child") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a"), supervisor("s", three())}));
  world.executor.behaviours["b"] = failing();
  world.start();
  REQUIRE(world.ended);
  CHECK(world.ended->detail.find("failed_to_start_child \"s\"") == 0);
  CHECK(world.executor.running() == 0);
}

TEST_CASE("item 9: a supervisor all of whose children decline is up, and ends as it is told") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a")}));
  world.executor.behaviours["a"].start = Behaviour::Start::ignores;
  world.start();
  CHECK(world.started->ok());
  world.tree.stop();
  CHECK(*world.ended == ExitReason::normal());
}

TEST_CASE("item 35: static children stop in reverse, one at a time") {
  World world(three());
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].stop_delay = 1s;
  world.start();
  world.touched();
  world.tree.stop();
  CHECK(world.touched() == Ids{"stop c"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit c", "stop b"});
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit b", "stop a"});
  CHECK(!world.ended);
  world.advance(1s);
  CHECK(world.ended);
}

TEST_CASE("item 35: the worst case is the sum of the timeouts") {
  SupervisorSpec spec = three();
  for (ChildSpec& child : spec.children) child.shutdown = Duration{2s};
  World world(spec);
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].ignores_stop = true;
  world.start();
  world.tree.stop();
  world.advance(6s - 1ns);
  CHECK(!world.ended);
  world.advance(1ns);
  CHECK(world.ended);
}

TEST_CASE("item 36: brutal_kill kills at once, a time asks first, infinity waits") {
  SupervisorSpec spec = three();
  spec.children[0].shutdown = Infinity{};
  spec.children[1].shutdown = Duration{1s};
  spec.children[2].shutdown = BrutalKill{};
  World world(spec);
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].ignores_stop = true;
  world.start();
  world.touched();
  world.tree.stop();
  world.settle();
  CHECK(world.touched() == Ids{"kill c", "exit c", "stop b"});
  CHECK(world.last<ServiceExited>()->reason.kind == ExitKind::killed);
  world.advance(1s);
  CHECK(world.touched() == Ids{"kill b", "exit b", "stop a"});
  CHECK(world.last<ServiceExited>()->reason.kind == ExitKind::killed);
  world.advance(1000h);
  CHECK(!world.ended);
  world.exit("a");
  CHECK(world.ended);
}

TEST_CASE("item 36: a time of 0 asks and kills in one breath") {
  SupervisorSpec spec = three();
  spec.children[2].shutdown = Duration::zero();
  World world(spec);
  world.executor.behaviours["c"].stop_delay = 1s;
  world.start();
  world.touched();
  CHECK(world.terminate("", "c")->ok());
  CHECK(world.touched() == Ids{"stop c", "kill c", "exit c"});
}

TEST_CASE("item 36: a supervisor that is killed leaves no child behind") {
  ChildSpec below = supervisor("s", three());
  below.shutdown = BrutalKill{};
  World world(supervise(RestartStrategy::one_for_one, {below}));
  world.start();
  world.touched();
  world.tree.stop();
  world.settle();
  CHECK(world.touched() == Ids{"kill c", "kill a", "kill b", "exit c", "exit a", "exit b"});
  CHECK(world.ended);
}

TEST_CASE("item 37: the end is the executor's word, and nothing but its word is waited for") {
  World world(three());
  world.start();
  world.tree.stop();
  world.executor.end(world.executor.run_of("c"), ExitReason::normal());  // Before its own timer.
  world.settle();
  CHECK(world.ended);
}

TEST_CASE(
    "item 38: a child that dies by itself during the stop is not restarted, nor skips the queue") {
  World world(three());
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].stop_delay = 1s;
  world.start();
  world.touched();
  world.tree.stop();
  world.exit("b");
  CHECK(world.touched() == Ids{"stop c", "exit b"});  // a still waits for c.
  world.advance(1s);
  CHECK(world.touched() == Ids{"exit c", "stop a"});
  world.advance(1s);
  CHECK(world.ended);
}

TEST_CASE("item 39: an unexpected reason while stopping is reported and aborts nothing") {
  World world(three());
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].ignores_stop = true;
  world.start();
  world.tree.stop();
  world.exit("c", crash());
  CHECK(world.last<ServiceExited>()->reason == crash());
  CHECK(world.last<ServiceExited>()->expected);
  world.exit("b", crash());
  world.exit("a", crash());
  CHECK(world.ended);
}

TEST_CASE("item 40: a caller of stop may lose patience, the stop goes on to its end") {
  World world(three());
  world.executor.behaviours["b"].stop_delay = 3s;
  world.start();
  std::optional<Status> hurried;
  std::optional<Status> patient;
  world.tree.stop(ExitReason::shutdown("enough"), 1s, [&](Status s) { hurried = std::move(s); });
  world.tree.stop({}, {}, [&](Status s) { patient = std::move(s); });
  world.advance(1s);
  REQUIRE(hurried);
  CHECK(hurried->error().code == Errc::timeout);
  CHECK(!patient);
  world.advance(2s);
  REQUIRE(patient);
  CHECK(patient->ok());
  CHECK(*world.ended == ExitReason::shutdown("enough"));
}

TEST_CASE("item 40: kill_all ends everything at once, even in the middle of a stop") {
  World world(three());
  for (const char* id : {"a", "b", "c"}) world.executor.behaviours[id].stop_delay = 9h;
  world.start();
  world.tree.stop();
  world.tree.kill_all();
  world.settle();
  CHECK(world.ended);
  CHECK(world.executor.running() == 0);
}

TEST_CASE("a stop calls off a start that is still going on") {
  World world(three());
  world.executor.behaviours["b"] = slow(10s);
  world.start();
  world.touched();
  world.tree.stop();
  world.settle();
  CHECK(world.touched() == Ids{"stop b", "exit b", "stop a", "exit a"});
  REQUIRE(world.started);
  CHECK(!world.started->ok());
  CHECK(world.ended);
}

TEST_CASE("item 47: questions are answered at once during a slow start and a slow stop") {
  World world(supervise(RestartStrategy::rest_for_one, {worker("a"), worker("b")}));
  world.executor.behaviours["a"] = slow(1s);
  world.executor.behaviours["b"].stop_delay = 1s;
  world.start();
  CHECK(world.tree.which_children("")->size() == 2);
  CHECK(world.tree.count_children("")->active == 1);
  world.advance(1s);
  world.tree.stop();
  CHECK(world.state("b") == ServiceState::stopping);
  CHECK(world.state("a") == ServiceState::running);
}

TEST_CASE("events tell a life in order: starting, started, exited, and again") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a")}));
  world.start();
  world.forget();
  world.exit("a");
  std::vector<EventKind> kinds;
  for (const Event& event : world.events) kinds.push_back(event.kind());
  CHECK(kinds == std::vector<EventKind>{EventKind::service_exited, EventKind::service_starting,
                                        EventKind::service_started});
  CHECK(world.events.front().path == "a");
  CHECK(world.last<ServiceStarting>()->restarts == 1);
}

TEST_CASE("a crash is answered before it is told: an observer finds the replacement running") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a")}));
  world.start();
  bool replaced = false;
  const Subscription subscription = world.bus.subscribe(
      EventKind::service_exited, [&](const Event&) { replaced = world.executor.runs_now("a"); });
  world.exit("a");
  CHECK(replaced);
}

TEST_CASE("the news of nested supervisors come in the order of the happening") {
  World world(supervise(RestartStrategy::one_for_one, {supervisor("s", three())}));
  world.start();
  std::vector<std::string> told;
  for (const Event& event : world.events)
    told.push_back(std::string(to_string(event.kind())) + " " + event.path);
  CHECK(told == Ids{"service_starting s", "service_starting s/a", "service_started s/a",
                    "service_starting s/b", "service_started s/b", "service_starting s/c",
                    "service_started s/c", "supervisor_started s", "service_started s",
                    "supervisor_started "});
}

}  // namespace unirun::testing
