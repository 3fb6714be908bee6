// A host for tests: its places in a directory of its own, its services fake.

#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "host/config/host_config.h"
#include "host/host.h"
#include "tests/host/fake_executor.h"
#include "tests/host/run_loop_until.h"
#include "tests/host/temporary_directory.h"

namespace unirun {

inline ChildSpec worker_spec(std::string id, Restart restart = Restart::permanent) {
  ChildSpec child;
  child.id = std::move(id);
  auto service = std::make_shared<ServiceSpec>();
  service->target = CommandTarget{{"sleep", "1000"}};
  child.service = std::move(service);
  child.restart = restart;
  return child;
}

inline ChildSpec supervisor_spec(std::string id, std::vector<ChildSpec> children,
                                 Restart restart = Restart::permanent) {
  auto spec = std::make_shared<SupervisorSpec>();
  spec->children = std::move(children);
  spec->max_restarts = 3;
  ChildSpec child;
  child.id = std::move(id);
  child.supervisor = std::move(spec);
  child.restart = restart;
  return child;
}

inline HostConfig config_in(const TemporaryDirectory& directory, std::vector<ChildSpec> trees) {
  HostConfig config;
  config.name = "test";
  config.state_dir = directory / "state";
  config.runtime_dir = directory / "run";
  config.control_socket = directory / "run/test.sock";
  config.journal_file = directory / "state/journal.sqlite";
  config.root.children = std::move(trees);
  return config;
}

// A pipeline of two workers, and a group of two.
inline HostConfig small_config(const TemporaryDirectory& directory) {
  ServiceGroup group{"pipeline", "worker", worker_spec("worker"), 2};
  HostConfig config = config_in(
      directory, {supervisor_spec("pipeline", {worker_spec("broker"), worker_spec("ingest"),
                                               instance_of(group, 1), instance_of(group, 2)})});
  config.groups.push_back(std::move(group));
  return config;
}

// The host on the test's own thread.
class TestHost {
 public:
  explicit TestHost(HostConfig config, HostOptions options = {}) {
    executor.use(loop);
    if (!options.executor) options.executor = &executor;
    host = std::make_unique<Host>(std::move(config), loop, options);
    host->on_ended([this](HostExit exit) { ended = exit; });
    host->on_started([this](const Status& tried) { started = tried; });
    watch = host->events().subscribe(EventKinds::all(),
                                     [this](const Event& event) { events.push_back(event); });
  }
  ~TestHost() {
    if (!host->ended() && running) stop();
  }

  Status start() {
    Status status = host->start();
    running = status.ok();
    return status;
  }
  void start_and_wait() {
    REQUIRE(start().ok());
    run_loop_until(loop, [&] { return started.has_value(); });
  }
  void stop() {
    host->request_stop("the test");
    run_until_ended();
  }
  HostExit run_until_ended() {
    run_loop_until(loop, [&] { return ended.has_value(); });
    return *ended;
  }
  Result<nlohmann::json> ask(std::string name, nlohmann::json arguments = nullptr) {
    std::optional<Result<nlohmann::json>> answer;
    host->handle().post({std::move(name), std::move(arguments)},
                        [&](Result<nlohmann::json> result) { answer = std::move(result); });
    run_loop_until(loop, [&] { return answer.has_value(); });
    return *answer;
  }
  [[nodiscard]] bool saw(EventKind kind, const std::string& path = "") const {
    return count(kind, path) > 0;
  }
  [[nodiscard]] std::size_t count(EventKind kind, const std::string& path = "") const {
    std::size_t n = 0;
    for (const Event& event : events) n += event.kind() == kind && event.path == path ? 1 : 0;
    return n;
  }

  SystemClock clock;
  EventLoop loop{clock};
  FakeExecutor executor;
  std::unique_ptr<Host> host;
  std::optional<Status> started;
  std::optional<HostExit> ended;
  std::vector<Event> events;
  Subscription watch;
  bool running = false;
};

}  // namespace unirun
