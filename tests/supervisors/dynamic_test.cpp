// Items 29 to 34: simple_one_for_one.

#include <doctest/doctest.h>

#include "tests/supervisors/world.h"

namespace unirun::testing {
namespace {

SupervisorSpec dynamic(Restart restart = Restart::permanent) {
  return supervise(RestartStrategy::simple_one_for_one, {worker("w", restart)});
}

Arguments arguments_of(const World& world, const std::string& name) {
  return world.executor.runs.at(world.executor.run_of(name)).service->arguments;
}

}  // namespace

TEST_CASE("item 29: nothing starts at the beginning") {
  World world(dynamic());
  world.start();
  CHECK(world.started->ok());
  CHECK(world.executor.log.empty());
}

TEST_CASE("item 30: arguments are appended, and a restart reuses the child's own") {
  SupervisorSpec spec = dynamic();
  auto service = std::make_shared<ServiceSpec>(*spec.children[0].service);
  service->arguments = {"always"};
  spec.children[0].service = service;
  World world(spec);
  world.start();
  CHECK(world.start_dynamic("", {1})->ok());
  CHECK(world.start_dynamic("", {2, "two"})->ok());
  CHECK(arguments_of(world, "w-1") == Arguments{"always", 1});
  CHECK(arguments_of(world, "w-2") == Arguments{"always", 2, "two"});
  world.exit("w-2");
  CHECK(arguments_of(world, "w-2") == Arguments{"always", 2, "two"});
}

TEST_CASE("item 30: a failing start stores nothing") {
  World world(dynamic());
  world.executor.behaviours["w-1"] = failing();
  world.start();
  CHECK(world.start_dynamic("")->code() == "start_failed");
  CHECK(world.tree.which_children("")->empty());
  CHECK(world.start_child("", worker("x"))->code() == "simple_one_for_one");
}

TEST_CASE("item 31: a restart that declines drops the child") {
  World world(dynamic());
  world.start();
  CHECK(world.start_dynamic("")->ok());
  world.executor.behaviours["w-1"].start = Behaviour::Start::ignores;
  world.exit("w-1");
  CHECK(world.tree.which_children("")->empty());
}

TEST_CASE("item 32: a shutdown asks all at once, and one timer kills the survivors together") {
  SupervisorSpec spec = dynamic();
  spec.children[0].shutdown = Duration{3s};
  World world(spec);
  world.start();
  for (int i = 0; i < 3; ++i) CHECK(world.start_dynamic("")->ok());
  for (auto& [run, service] : world.executor.runs)
    service.behaviour.ignores_stop = service.id != "w-2";
  world.forget();
  world.tree.stop();
  world.settle();
  CHECK(world.touched("stop").size() == 3);
  world.advance(3s - 1ns);
  CHECK(world.touched("kill").empty());
  world.advance(1ns);
  CHECK(world.touched("kill") == Ids{"w-3", "w-1"});
  CHECK(world.ended);
}

TEST_CASE("item 33: ids mean nothing, terminate_child takes a handle") {
  World world(
      supervise(RestartStrategy::one_for_one, {supervisor("d", dynamic()), worker("stranger")}));
  world.start();
  const auto answer = world.start_dynamic("d");
  const RunId run = (*answer->value)->run;
  CHECK(world.delete_child("d", "w-1")->code() == "simple_one_for_one");
  CHECK(world.restart_child("d", "w-1")->code() == "simple_one_for_one");
  CHECK(world.terminate("d", "w")->code() == "simple_one_for_one");
  CHECK(world.terminate("d", world.executor.run_of("stranger"))->code() == "not_found");
  CHECK(world.executor.runs_now("stranger"));
  CHECK(world.terminate("d", run)->ok());
  CHECK(!world.executor.runs_now("w-1"));
  CHECK(world.terminate("d", run)->ok());                              // Dead already.
  CHECK(world.terminate("d", "w-1")->ok());                            // The same by its name,
  CHECK(world.terminate("d", "w-2")->code() == "simple_one_for_one");  // which this never was.
}

TEST_CASE("item 34: counts: one spec, and active are those that live") {
  SupervisorSpec spec = dynamic();
  spec.children[0].backoff.kind = Backoff::Kind::fixed;
  World world(spec);
  world.start();
  for (int i = 0; i < 3; ++i) CHECK(world.start_dynamic("")->ok());
  world.exit("w-2");
  CHECK(*world.tree.count_children("") == ChildCounts{1, 2, 0, 3});
}

TEST_CASE("a dynamic child that ends for good leaves nothing, whatever its restart type") {
  World world(dynamic(Restart::transient));
  world.start();
  CHECK(world.start_dynamic("")->ok());
  world.exit("w-1", ExitReason::normal());
  CHECK(world.tree.which_children("")->empty());
}

}  // namespace unirun::testing
