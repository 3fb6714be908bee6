// Items 41 to 46 (calls), 49 to 52 (auto_shutdown) and 53 (reload).

#include <doctest/doctest.h>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

SupervisorSpec two(RestartStrategy strategy = RestartStrategy::one_for_one) {
  return supervise(strategy, {worker("a"), worker("b")});
}

ChildSpec significant(std::string id, Restart restart = Restart::transient) {
  ChildSpec spec = worker(std::move(id), restart);
  spec.significant = true;
  return spec;
}

SupervisorSpec ending(AutoShutdown rule, std::vector<ChildSpec> children) {
  SupervisorSpec spec = supervise(RestartStrategy::one_for_one, std::move(children));
  spec.auto_shutdown = rule;
  return spec;
}

}  // namespace

TEST_CASE("item 41: start_child") {
  World world(two());
  started(world);
  SUBCASE("starts it, last, and answers with its handle") {
    const auto answer = world.start_child("", worker("z"));
    REQUIRE(answer->ok());
    CHECK((*answer->value)->run == world.executor.run_of("z"));
    CHECK((*answer->value)->path == "z");
    CHECK(world.tree.which_children("")->front().id == "z");
  }
  SUBCASE("id running: already_started") {
    CHECK(world.start_child("", worker("a"))->code() == "already_started");
  }
  SUBCASE("id there and not running: already_present") {
    CHECK(world.terminate("", "a")->ok());
    CHECK(world.start_child("", worker("a"))->code() == "already_present");
  }
  SUBCASE("a failed start saves nothing") {
    world.executor.behaviours["z"] = failing();
    CHECK(world.start_child("", worker("z"))->code() == "start_failed");
    CHECK(!world.knows("z"));
    CHECK(world.tree.snapshot_of("")->recent_restarts == 0);
  }
  SUBCASE("an invalid spec is refused") {
    CHECK(world.start_child("", worker(""))->code() == "invalid_child_spec");
  }
  SUBCASE("a start that takes its time is answered when it is over") {
    world.executor.behaviours["z"] = slow(5s);
    const auto answer = world.start_child("", worker("z"));
    CHECK(answer->code() == "none yet");
    CHECK(world.start_child("", worker("z"))->code() == "already_started");  // Never twice.
    world.advance(5s);
    CHECK(answer->ok());
  }
}

TEST_CASE("item 42: terminate_child") {
  World world(
      supervise(RestartStrategy::one_for_one, {worker("a"), worker("t", Restart::temporary)}));
  started(world);
  CHECK(world.terminate("", "a")->ok());
  CHECK(world.state("a") == ServiceState::stopped);
  CHECK(world.terminate("", "a")->ok());  // It does not run, and that is fine.
  CHECK(world.terminate("", "t")->ok());
  CHECK(!world.knows("t"));
  CHECK(world.terminate("", "nobody")->code() == "not_found");
  world.advance(1h);
  CHECK(world.state("a") == ServiceState::stopped);  // Until somebody wants it back.
  CHECK(world.tree.snapshot_of("")->recent_restarts == 0);
}

TEST_CASE("item 42: terminate_child calls off a start, and waits until the child is down") {
  World world(two());
  started(world);
  world.executor.behaviours["z"] = slow(1h);
  world.executor.behaviours["z"].stop_delay = 2s;
  const auto starting = world.start_child("", worker("z"));
  const auto stopping = world.terminate("", "z");
  CHECK(starting->code() == "cancelled");
  CHECK(stopping->code() == "none yet");
  world.advance(2s);
  CHECK(stopping->ok());
  CHECK(world.state("z") == ServiceState::stopped);
}

TEST_CASE("item 43: delete_child") {
  World world(two());
  started(world);
  CHECK(world.delete_child("", "a")->code() == "running");
  CHECK(world.delete_child("", "nobody")->code() == "not_found");
  CHECK(world.terminate("", "a")->ok());
  CHECK(world.delete_child("", "a")->ok());
  CHECK(!world.knows("a"));
  CHECK(world.start_child("", worker("a"))->ok());
}

TEST_CASE("item 44: restart_child") {
  World world(two());
  started(world);
  CHECK(world.restart_child("", "a")->code() == "running");
  CHECK(world.restart_child("", "nobody")->code() == "not_found");
  CHECK(world.terminate("", "a")->ok());
  world.executor.behaviours["a"] = failing();
  CHECK(world.restart_child("", "a")->code() == "start_failed");
  CHECK(world.state("a") == ServiceState::stopped);
  world.advance(1h);
  CHECK(world.touched("start") == Ids{"a"});  // No retry.
  world.executor.behaviours.clear();
  CHECK(world.restart_child("", "a")->ok());
  CHECK(world.tree.snapshot_of("")->recent_restarts == 0);
}

TEST_CASE("item 44: a call on a child that is being stopped waits until it is down") {
  World world(two());
  world.executor.behaviours["a"].stop_delay = 1s;
  started(world);
  const auto stopping = world.terminate("", "a");
  const auto starting = world.restart_child("", "a");
  const auto again = world.restart_child("", "a");
  const auto adding = world.start_child("", worker("a"));
  CHECK(starting->code() == "none yet");
  world.advance(1s);
  CHECK(stopping->ok());
  CHECK(starting->ok());
  CHECK(again->code() == "running");
  CHECK(adding->code() == "already_started");
  CHECK(world.touched() == Ids{"stop a", "exit a", "start a", "ready a"});
}

TEST_CASE(
    "item 45: which_children is newest first, which_child and get_childspec take id or handle") {
  World world(supervise(
      RestartStrategy::one_for_one,
      {worker("a"),
       supervisor("s", supervise(RestartStrategy::one_for_one, {worker("x"), worker("y")})),
       worker("c", Restart::transient)}));
  started(world).exit("c", ExitReason::normal());
  const auto children = world.tree.which_children("");
  REQUIRE(children);
  Ids ids;
  for (const ChildSnapshot& child : *children) ids.push_back(child.id);
  CHECK(ids == Ids{"c", "s", "a"});
  CHECK((*children)[0].run == RunId::none);
  CHECK((*children)[1].type == ChildType::supervisor);
  const RunId a = world.executor.run_of("a");
  CHECK(world.tree.which_child("", a)->id == "a");
  CHECK(world.tree.get_childspec("", a)->id == "a");
  CHECK(world.tree.get_childspec("", std::string("s"))->shutdown == Shutdown{Infinity{}});
  CHECK(world.tree.get_childspec("", std::string("a"))->shutdown == Shutdown{Duration{5s}});
  CHECK(world.tree.which_child("", std::string("z")).error().code == Errc::not_found);
  CHECK(world.tree.which_children("a").error().message == "\"a\" is a worker and no supervisor");
  CHECK(world.tree.which_children("s")->size() == 2);
}

TEST_CASE("item 46: count_children") {
  World world(supervise(RestartStrategy::one_for_one,
                        {worker("a"), supervisor("s", two()), worker("c", Restart::transient)}));
  started(world).exit("c", ExitReason::normal());
  CHECK(*world.tree.count_children("") == ChildCounts{3, 2, 1, 2});
}

TEST_CASE("item 47: in a group a call waits its turn, and is served in order") {
  World world(two(RestartStrategy::one_for_all));
  world.executor.behaviours["b"].stop_delay = 1s;
  started(world).exit("a");
  const auto adding = world.start_child("", worker("z"));
  const auto deleting = world.delete_child("", "b");
  CHECK(adding->code() == "none yet");
  CHECK(world.tree.which_children("")->size() == 2);  // A question does not wait.
  world.advance(1s);
  CHECK(adding->ok());
  CHECK(deleting->code() == "running");
  CHECK(world.touched("start") == Ids{"a", "b", "z"});
}

TEST_CASE("item 47: a shutdown refuses every call that waits, and every later one") {
  World world(two(RestartStrategy::one_for_all));
  world.executor.behaviours["b"].stop_delay = 1s;
  started(world).exit("a");
  const auto adding = world.start_child("", worker("z"));
  world.tree.stop();
  CHECK(adding->code() == "shutting_down");
  CHECK(world.restart_child("", "a")->code() == "shutting_down");
  world.advance(1s);
  CHECK(world.ended);
  CHECK(world.restart_child("", "a")->code() == "not_found");
}

TEST_CASE("item 49: any_significant: a transient one that ends clean, a temporary one at all") {
  World world(ending(AutoShutdown::any_significant,
                     {worker("a"), significant("s"), significant("t", Restart::temporary)}));
  started(world);
  SUBCASE("transient and clean") { world.exit("s", ExitReason::normal()); }
  SUBCASE("temporary and abnormal") { world.exit("t"); }
  SUBCASE("temporary and clean") { world.exit("t", ExitReason::normal()); }
  REQUIRE(world.ended);
  CHECK(world.ended->kind == ExitKind::shutdown);
  CHECK(world.executor.running() == 0);
}

TEST_CASE(
    "item 49: a transient one that crashes is restarted, and one not significant ends nothing") {
  World world(
      ending(AutoShutdown::any_significant, {worker("a", Restart::transient), significant("s")}));
  started(world).exit("s");
  world.exit("a", ExitReason::normal());
  CHECK(!world.ended);
  CHECK(world.state("s") == ServiceState::running);
}

TEST_CASE("item 50: all_significant fires with the last one, and one being restarted is active") {
  ChildSpec retried = significant("s");
  retried.backoff.kind = Backoff::Kind::fixed;
  retried.backoff.initial = 10s;
  World world(ending(AutoShutdown::all_significant,
                     {worker("a"), retried, significant("t", Restart::temporary)}));
  started(world).exit("s");
  world.exit("t");
  CHECK(!world.ended);  // s is down, but it is to come back.
  world.advance(10s);
  CHECK(!world.ended);
  world.exit("s", ExitReason::normal());
  CHECK(world.ended);
}

TEST_CASE("item 51: never by terminate_child, nor by a sibling") {
  World world(ending(AutoShutdown::any_significant, {worker("a"), significant("s")}));
  started(world);
  CHECK(world.terminate("", "s")->ok());
  CHECK(!world.ended);

  SupervisorSpec group =
      ending(AutoShutdown::any_significant, {worker("a"), significant("t", Restart::temporary)});
  group.strategy = RestartStrategy::one_for_all;
  World siblings(group);
  started(siblings).exit("a");
  CHECK(!siblings.ended);
  CHECK(!siblings.knows("t"));
}

TEST_CASE("item 52: it escalates through a significant transient supervisor, and only that") {
  const SupervisorSpec below =
      ending(AutoShutdown::any_significant, {worker("a"), significant("leader")});
  ChildSpec sub = supervisor("sub", below);
  sub.restart = Restart::transient;
  SUBCASE("significant") {
    sub.significant = true;
    World world(ending(AutoShutdown::any_significant, {worker("z"), sub}));
    started(world).exit("leader", ExitReason::normal());
    CHECK(world.ended);
  }
  SUBCASE("not significant") {
    World world(ending(AutoShutdown::any_significant, {worker("z"), sub}));
    started(world).exit("leader", ExitReason::normal());
    CHECK(!world.ended);
    CHECK(world.state("sub") == ServiceState::completed);
  }
}

TEST_CASE("auto_shutdown: a significant child that failed for good has ended") {
  ExitReason usage = crash();
  usage.permanent_failure = true;
  World world(ending(AutoShutdown::any_significant, {worker("a"), significant("s")}));
  started(world).exit("s", usage);
  CHECK(world.ended);
}

TEST_CASE(
    "item 53: code_change replaces flags and specs, keeps processes, adds and does not start") {
  World world(two());
  started(world);
  const RunId b = world.executor.run_of("b");
  SupervisorSpec changed = supervise(RestartStrategy::one_for_all, {worker("n"), worker("b")});
  changed.children[1].restart = Restart::transient;
  changed.max_restarts = 7;
  std::optional<Status> outcome;
  world.tree.code_change("", changed, [&](Status s) { outcome = std::move(s); });
  REQUIRE(outcome);
  CHECK(outcome->ok());
  CHECK(world.touched().empty());
  CHECK(world.executor.run_of("b") == b);
  CHECK(world.tree.get_childspec("", std::string("b"))->restart == Restart::transient);
  CHECK(world.state("n") == ServiceState::stopped);
  CHECK(world.state("a") == ServiceState::running);  // Missing in the new list: kept.
  CHECK(world.tree.snapshot_of("")->max_restarts == 7);
  world.exit("b");  // The new strategy, the new order: the new list, then the rest.
  CHECK(world.touched() == Ids{"exit b", "stop a", "exit a", "start n", "ready n", "start b",
                               "ready b", "start a", "ready a"});
}

TEST_CASE("item 53: an invalid change changes nothing") {
  World world(two());
  started(world);
  SupervisorSpec changed = two(RestartStrategy::one_for_all);
  std::optional<Status> outcome;
  const auto keep = [&](Status s) { outcome = std::move(s); };
  SUBCASE("a bad spec") {
    changed.children[0].id = "";
    world.tree.code_change("", changed, keep);
    CHECK(outcome->error().code == Errc::invalid_child_spec);
  }
  SUBCASE("a template that was not there") {
    changed = supervise(RestartStrategy::simple_one_for_one, {worker("a")});
    world.tree.code_change("", changed, keep);
    CHECK(outcome->error().code == Errc::invalid_supervisor_spec);
  }
  world.exit("b");
  CHECK(world.touched("start") == Ids{"b"});  // Still one_for_one.
}

TEST_CASE("restart: stops and starts, costs no intensity, and cuts a backoff short") {
  SupervisorSpec spec = two();
  spec.max_restarts = 1;
  spec.children[0].backoff.kind = Backoff::Kind::fixed;
  spec.children[0].backoff.initial = 1s;
  World world(spec);
  started(world);
  CHECK(world.restart("", "a")->ok());
  CHECK(world.touched() == Ids{"stop a", "exit a", "start a", "ready a"});
  CHECK(world.tree.snapshot_of("")->recent_restarts == 0);
  world.exit("a");
  CHECK(world.state("a") == ServiceState::backing_off);
  CHECK(world.restart("", "a")->ok());
  CHECK(world.state("a") == ServiceState::running);
  CHECK(world.terminate("", "b")->ok());
  CHECK(world.restart("", "b")->ok());
  CHECK(world.restart("", "nobody")->code() == "not_found");
}

TEST_CASE("kill: what follows is what follows any crash") {
  World world(two());
  started(world);
  CHECK(world.kill("", "a")->ok());
  CHECK(world.touched() == Ids{"kill a", "exit a", "start a", "ready a"});
  CHECK(world.terminate("", "b")->ok());
  CHECK(world.kill("", "b")->code() == "invalid_argument");
}

TEST_CASE("a callback may call the tree again") {
  World world(two());
  started(world);
  bool done = false;
  world.tree.terminate_child("", std::string("a"), [&](const auto&) {
    world.tree.delete_child("", std::string("a"), [&](const auto& outcome) {
      done = outcome.ok();
      world.tree.stop();
    });
  });
  world.settle();
  CHECK(done);
  CHECK(world.ended);
}

TEST_CASE("paths: split_path, find and snapshot agree") {
  CHECK(split_path("a") == std::pair<std::string, std::string>{"", "a"});
  CHECK(split_path("p/q/r") == std::pair<std::string, std::string>{"p/q", "r"});
  World world(supervise(RestartStrategy::one_for_one, {supervisor("p", two())}));
  started(world);
  const TreeSnapshot tree = world.tree.snapshot();
  REQUIRE(tree.children.size() == 1);
  CHECK(tree.child.state == ServiceState::running);
  CHECK(tree.children[0].child.path == "p");
  REQUIRE(tree.children[0].children.size() == 2);
  CHECK(tree.children[0].children[1].child.path == "p/b");
  CHECK(world.tree.find("p/b")->run == tree.children[0].children[1].child.run);
  CHECK(world.terminate("x/y", "z")->code() == "not_found");
}

}  // namespace unirun::testing
