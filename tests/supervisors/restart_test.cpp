// Items 10 to 28: what a death means, how often, and who falls with it.

#include <doctest/doctest.h>

#include "supervisors/supervision.h"
#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

SupervisorSpec three(RestartStrategy strategy) {
  return supervise(strategy, {worker("a"), worker("b"), worker("c")});
}

const std::vector<ExitReason> abnormal_reasons = {
    crash(),
    ExitReason::of(ExitKind::signal),
    ExitReason::of(ExitKind::exception),
    ExitReason::of(ExitKind::killed),
    ExitReason::of(ExitKind::liveness_timeout),
    ExitReason::of(ExitKind::memory_limit),
    ExitReason::of(ExitKind::stuck),
};

}  // namespace

TEST_CASE("item 10: normal and shutdown are clean, everything else is abnormal") {
  for (const auto& reason : {ExitReason::normal(), ExitReason::shutdown("whatever")}) {
    World world(supervise(RestartStrategy::one_for_one, {worker("a", Restart::transient)}));
    started(world).exit("a", reason);
    CHECK(world.state("a") == ServiceState::completed);
  }
  for (const auto& reason : abnormal_reasons) {
    CAPTURE(reason.describe());
    ChildSpec spec = worker("a", Restart::transient);
    spec.allow_overlap = true;  // Else one that is stuck stays down.
    World world(supervise(RestartStrategy::one_for_one, {spec}));
    started(world).exit("a", reason);
    CHECK(world.state("a") == ServiceState::running);
  }
}

TEST_CASE("item 11: a permanent child comes back whatever it ended with") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a")}));
  started(world);
  for (const auto& reason : {ExitReason::normal(), ExitReason::shutdown(), crash()}) {
    world.exit("a", reason);
    CHECK(world.state("a") == ServiceState::running);
  }
  CHECK(world.tree.find("a")->restarts == 3);
}

TEST_CASE("item 12: a transient child that ends clean leaves its spec") {
  World world(supervise(RestartStrategy::one_for_one, {worker("a", Restart::transient)}));
  started(world).exit("a", ExitReason::normal());
  CHECK(world.tree.find("a")->run == RunId::none);
  CHECK(world.last<ServiceCompleted>());
  CHECK(world.executor.running() == 0);
}

TEST_CASE("item 13: a temporary child is never restarted, and leaves nothing") {
  World world(supervise(RestartStrategy::one_for_all,
                        {worker("a"), worker("t", Restart::temporary), worker("b")}));
  started(world);
  SUBCASE("by its own end") {
    world.exit("t");
    CHECK(world.touched() == Ids{"exit t"});
  }
  SUBCASE("by a sibling's crash") {
    world.exit("a");
    CHECK(world.touched() == Ids{"exit a", "stop b", "exit b", "stop t", "exit t", "start a",
                                 "ready a", "start b", "ready b"});
  }
  CHECK(!world.knows("t"));
  CHECK(world.count(EventKind::service_removed, "t") == 1);
  CHECK(world.tree.count_children("")->specs == 2);
}

TEST_CASE("item 14: every end is told, with its reason") {
  World world(
      supervise(RestartStrategy::one_for_one, {worker("a"), worker("t", Restart::temporary)}));
  started(world);
  world.exit("a", ExitReason::normal());
  CHECK(world.last<ServiceExited>()->reason == ExitReason::normal());
  CHECK(!world.last<ServiceExited>()->expected);
  world.exit("t");
  CHECK(world.last<ServiceExited>()->reason == crash());
}

TEST_CASE("item 15: the end of an unknown run is ignored") {
  SupervisorSpec spec = three(RestartStrategy::one_for_all);
  Random random(1);
  RunIds runs;
  Supervision supervision(std::make_shared<const SupervisorSpec>(spec), random, runs);
  static_cast<void>(supervision.start(Instant{}));
  CHECK(supervision.on_exited(RunId{4711}, crash(), Instant{}).empty());
  CHECK(supervision.on_ready(RunId{4711}, Instant{}).empty());
}

TEST_CASE("item 16: a group restart costs one entry per crash, not one per child") {
  SupervisorSpec spec = three(RestartStrategy::one_for_all);
  spec.max_restarts = 2;
  World world(spec);
  started(world).exit("a");
  world.exit("b");
  CHECK(!world.ended);
  CHECK(world.tree.snapshot_of("")->recent_restarts == 2);
  world.exit("c");
  CHECK(world.ended);
}

TEST_CASE("item 16: every retry of a failed start costs an entry, too") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 4;
  World world(spec);
  started(world);
  world.executor.behaviours["b"] = failing();
  world.exit("b");
  CHECK(world.touched("start") == Ids{"b", "b", "b", "b"});
  CHECK(world.ended);
}

TEST_CASE("item 17: intensity N allows N, the next in the window ends the supervisor") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 2;
  spec.period = 10s;
  World world(spec);
  started(world).exit("a");
  world.exit("b");
  world.advance(10s + 1ns);  // Both are forgotten.
  world.exit("a");
  world.exit("b");
  world.advance(10s);  // Both still count.
  CHECK(!world.ended);
  world.exit("c");
  CHECK(world.ended);
}

TEST_CASE("item 17: intensity 0 ends it at the first crash") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 0;
  World world(spec);
  started(world).exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop c", "exit c", "stop a", "exit a"});
  CHECK(world.ended);
}

TEST_CASE("item 18: a successful run clears nothing, only age does") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 1;
  spec.period = 1h;
  World world(spec);
  started(world).exit("a");
  world.advance(59min);
  world.exit("a");
  CHECK(world.ended);
}

TEST_CASE("item 19: the window is sharp to the nanosecond and blind to the wall clock") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 1;
  spec.period = 1s;
  World world(spec);
  started(world).exit("a");
  world.time.jump_wall_clock(24h);
  world.advance(1s + 1ns);
  world.exit("a");
  CHECK(!world.ended);
  world.time.jump_wall_clock(-48h);
  world.advance(1s);
  world.exit("a");
  CHECK(world.ended);
}

TEST_CASE(
    "item 20: too many restarts are told, the rest is stopped in reverse, the end is shutdown") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.max_restarts = 1;
  World world(spec);
  started(world).exit("b");
  world.forget();
  world.exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop c", "exit c", "stop a", "exit a"});
  const auto* gave_up = world.last<SupervisorGaveUp>();
  REQUIRE(gave_up);
  CHECK(gave_up->child == "b");
  CHECK(gave_up->max_restarts == 1);
  CHECK(gave_up->reason == crash());
  REQUIRE(world.ended);
  CHECK(world.ended->kind == ExitKind::shutdown);
  CHECK(world.ended->detail.find("reached_max_restart_intensity") == 0);
}

TEST_CASE("item 20: a burnt-out transient supervisor stays down, a permanent one is restarted") {
  SupervisorSpec below = three(RestartStrategy::one_for_one);
  below.max_restarts = 0;
  ChildSpec child = supervisor("s", below);
  SUBCASE("transient") {
    child.restart = Restart::transient;
    World world(supervise(RestartStrategy::one_for_one, {child}));
    started(world).exit("a");
    CHECK(world.state("s") == ServiceState::completed);
    CHECK(world.executor.running() == 0);
  }
  SUBCASE("permanent") {
    World world(supervise(RestartStrategy::one_for_one, {child}));
    started(world).exit("a");
    CHECK(world.state("s") == ServiceState::running);
    CHECK(world.executor.running() == 3);
  }
}

TEST_CASE("item 21: budgets multiply through the levels") {
  SupervisorSpec below = supervise(RestartStrategy::one_for_one, {worker("a")});
  below.max_restarts = 3;
  SupervisorSpec above = supervise(RestartStrategy::one_for_one, {supervisor("s", below)});
  above.max_restarts = 2;
  World world(above);
  started(world);
  int crashes = 0;
  while (!world.ended && crashes < 100) {
    world.exit("a");
    ++crashes;
  }
  CHECK(crashes == (3 + 1) * (2 + 1));
}

TEST_CASE("item 22: a failed restart is retried behind what is pending, and costs an entry") {
  World world(three(RestartStrategy::one_for_one));
  started(world);
  world.executor.behaviours["b"] = failing();
  // Nothing is settled here: the loop has not come round yet.
  world.executor.end(world.executor.run_of("b"), crash());
  CHECK(world.touched("start") == Ids{"b"});
  CHECK(world.state("b") == ServiceState::backing_off);
  bool terminated = false;
  world.tree.terminate_child("", std::string("b"),
                             [&](auto outcome) { terminated = outcome.ok(); });
  CHECK(terminated);
  world.settle();
  CHECK(world.touched("start") == Ids{"b"});  // The retry was cancelled.
  CHECK(world.tree.snapshot_of("")->recent_restarts == 1);
}

TEST_CASE("item 23: what a child that is being restarted answers") {
  SupervisorSpec spec = three(RestartStrategy::one_for_one);
  spec.children[1].backoff.kind = Backoff::Kind::fixed;
  spec.children[1].backoff.initial = 10s;
  World world(spec);
  started(world);
  world.executor.behaviours["b"] = failing();
  world.exit("b");
  world.advance(10s);  // The first restart fails.
  CHECK(world.state("b") == ServiceState::backing_off);
  CHECK(world.tree.count_children("")->active == 2);
  CHECK(world.start_child("", worker("b"))->code() == "already_present");
  CHECK(world.restart_child("", "b")->code() == "restarting");
  CHECK(world.delete_child("", "b")->code() == "restarting");
  SUBCASE("terminate_child cancels the retry") {
    CHECK(world.terminate("", "b")->ok());
    world.forget();
    world.advance(1h);
    CHECK(world.touched().empty());
    CHECK(world.state("b") == ServiceState::stopped);
  }
  SUBCASE("a shutdown is honoured between two attempts") {
    world.tree.stop();
    world.settle();
    CHECK(world.ended);
  }
}

TEST_CASE("item 24: one_for_one restarts the dead one, siblings keep their identity") {
  World world(three(RestartStrategy::one_for_one));
  started(world);
  const RunId a = world.tree.find("a")->run;
  const RunId b = world.tree.find("b")->run;
  world.exit("b");
  CHECK(world.touched() == Ids{"exit b", "start b", "ready b"});
  CHECK(world.tree.find("a")->run == a);
  CHECK(world.tree.find("b")->run != b);
}

TEST_CASE("item 25: one_for_all stops the others in reverse and starts all in order") {
  World world(three(RestartStrategy::one_for_all));
  started(world).exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop c", "exit c", "stop a", "exit a", "start a",
                               "ready a", "start b", "ready b", "start c", "ready c"});
}

TEST_CASE("item 25: one_for_all revives the finished and the terminated") {
  SupervisorSpec spec = three(RestartStrategy::one_for_all);
  spec.children[0].restart = Restart::transient;
  World world(spec);
  started(world).exit("a", ExitReason::normal());
  CHECK(world.terminate("", "c")->ok());
  world.forget();
  world.exit("b");
  CHECK(world.touched("start") == Ids{"a", "b", "c"});
}

TEST_CASE("item 26: rest_for_one takes the dead one and all after it") {
  World world(supervise(RestartStrategy::rest_for_one,
                        {worker("a"), worker("b"), worker("t", Restart::temporary), worker("c")}));
  started(world);
  const RunId a = world.tree.find("a")->run;
  world.exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop c", "exit c", "stop t", "exit t", "start b",
                               "ready b", "start c", "ready c"});
  CHECK(world.tree.find("a")->run == a);
  CHECK(!world.knows("t"));
}

TEST_CASE("item 27: a failed start inside a group restart is retried from that child on") {
  // b fails once, when the group comes back.
  const auto fails_once = [](World& world) {
    world.executor.behaviours["b"] = failing();
    world.executor.end(world.executor.run_of("a"), crash());
    while ((world.executor.log.empty() || world.executor.log.back() != "fail b") &&
           world.time.fire_next()) {
    }
    CHECK(world.state("a") == ServiceState::running);
    CHECK(world.state("b") == ServiceState::backing_off);
    CHECK(world.state("c") == ServiceState::stopped);
    world.executor.behaviours.erase("b");
    world.forget();
    world.settle();
  };
  SUBCASE("one_for_all stops everything and starts all again") {
    World world(three(RestartStrategy::one_for_all));
    fails_once(started(world));
    CHECK(world.touched() == Ids{"stop a", "exit a", "start a", "ready a", "start b", "ready b",
                                 "start c", "ready c"});
  }
  SUBCASE("rest_for_one restarts from that child only") {
    World world(three(RestartStrategy::rest_for_one));
    fails_once(started(world));
    CHECK(world.touched() == Ids{"start b", "ready b", "start c", "ready c"});
  }
}

TEST_CASE(
    "item 28: an added child is last, survives group restarts, and dies with its supervisor") {
  SupervisorSpec below = three(RestartStrategy::one_for_all);
  below.max_restarts = 1;
  World world(supervise(RestartStrategy::one_for_one, {supervisor("s", below)}));
  started(world);
  CHECK(world.start_child("s", worker("z"))->ok());
  world.forget();
  world.exit("a");
  CHECK(world.touched("start") == Ids{"a", "b", "c", "z"});
  world.forget();
  world.exit("a");  // The supervisor burns out and is restarted from its spec.
  CHECK(world.touched("start") == Ids{"a", "b", "c"});
  CHECK(!world.knows("s/z"));
}

TEST_CASE("a death during a group's stop widens the group and counts") {
  World world(three(RestartStrategy::rest_for_one));
  world.executor.behaviours["c"].stop_delay = 1s;
  started(world).exit("b");
  CHECK(world.touched() == Ids{"exit b", "stop c"});
  world.exit("a");
  CHECK(world.touched() == Ids{"exit a"});
  world.advance(1s);
  CHECK(world.touched() ==
        Ids{"exit c", "start a", "ready a", "start b", "ready b", "start c", "ready c"});
  CHECK(world.tree.snapshot_of("")->recent_restarts == 2);
}

TEST_CASE("section 2: an exit code that forbids restarts fails the child for good") {
  ExitReason usage = crash();
  usage.exit_code = 78;
  usage.permanent_failure = true;
  World world(three(RestartStrategy::one_for_all));
  started(world).exit("b", usage);
  CHECK(world.touched() == Ids{"exit b"});
  CHECK(world.state("b") == ServiceState::failed);
  CHECK(world.last<ServiceFailed>()->reason == usage);
  world.exit("a");  // A group restart does not revive it: nothing has changed for it.
  CHECK(world.touched("start") == Ids{"a", "c"});
  world.executor.log.clear();
  CHECK(world.restart_child("", "b")->ok());  // A person may.
}

}  // namespace unirun::testing
