// Native services on threads, from a configuration to the end of the host.

#include <atomic>

#include "executors/native/service_registry.h"
#include "framework/doorbell.h"
#include "host/config/load_config.h"
#include "tests/host/test_host.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

std::atomic<int> lives{0};
std::atomic<bool> released{false};
Doorbell release_bell;

// Crashes in its first two lives, and is good in its third.
class Recovering final : public Service {
 public:
  void run(ServiceContext& context) override {
    if (++lives < 3) throw std::runtime_error("not yet");
    context.status(context.config().at("greeting").get<std::string>());
    context.ready();
    while (!context.cancellation().wait(1h)) {
    }
  }
};
UNIRUN_REGISTER_SERVICE(Recovering, "recovering")

// Ends when the test says so, whatever the host says.
class Stubborn final : public Service {
 public:
  void run(ServiceContext&) override {
    release_bell.wait(10min, [] { return released.load(); });
  }
  [[nodiscard]] std::string stack() const override { return "Stubborn::run()"; }
};
UNIRUN_REGISTER_SERVICE(Stubborn, "stubborn")

nlohmann::json document_with(const nlohmann::json& child) {
  return {{"supervisors", {{{"id", "s"}, {"children", {child}}}}}};
}

HostConfig config_of(const TemporaryDirectory& directory, const nlohmann::json& child) {
  nlohmann::json document = document_with(child);
  document["supervisors"][0]["restart_intensity"] = {{"max_restarts", 5}, {"period", "1m"}};
  LoadOutcome outcome = config_from_json(document);
  REQUIRE_MESSAGE(outcome.ok(), describe(outcome.faults, "test"));
  HostConfig config = config_in(directory, {});
  config.root = std::move(outcome.config->root);
  return config;
}

TEST_CASE("a native service of a configuration lives on a thread, and is restarted there") {
  const TemporaryDirectory directory;
  lives = 0;
  TestHost host(config_of(directory, {{"id", "w"},
                                      {"native", "recovering"},
                                      {"executor", "thread"},
                                      {"config", {{"greeting", "good morning"}}}}));
  host.start_and_wait();
  run_loop_until(host.loop, [&] { return host.saw(EventKind::service_status_text, "s/w"); });
  CHECK(host.count(EventKind::service_exited, "s/w") == 2);
  const auto answer = host.ask("status");
  REQUIRE(answer.ok());
  for (const auto& service : answer->at("services")) {
    if (service.at("path") != "s/w") continue;
    CHECK(service.at("executor") == "thread");
    CHECK(service.at("last_exit").at("summary") == "std::runtime_error: not yet");
  }
  host.stop();
  CHECK(host.ended == HostExit::done);
  CHECK(Host::abandoned_threads() == 0);
}

TEST_CASE("a host ends in bounded time beside a thread that is stuck, and says so") {
  const TemporaryDirectory directory;
  released = false;
  {
    TestHost host(config_of(
        directory,
        {{"id", "w"}, {"native", "stubborn"}, {"executor", "thread"}, {"shutdown", "20ms"}}));
    host.start_and_wait();
    const Instant begin = host.clock.now();
    host.stop();
    CHECK(host.clock.now() - begin < 15s);
    CHECK(host.ended == HostExit::done);
    CHECK(Host::abandoned_threads() == 1);
    const ServiceExited* exited = nullptr;
    for (const Event& event : host.events) {
      const auto* found = std::get_if<ServiceExited>(&event.payload);
      if (found && event.path.ends_with("/w")) exited = found;  // Not its supervisor's.
    }
    REQUIRE(exited != nullptr);
    CHECK(exited->reason.kind == ExitKind::stuck);
    CHECK(exited->reason.stacks == "Stubborn::run()");
  }
  released = true;  // Its host is gone.
  release_bell.ring();
  const SystemClock clock;
  const Instant deadline = clock.now() + 20s;
  while (Host::abandoned_threads() > 0 && clock.now() < deadline) {
    static_cast<void>(CancellationToken().wait(1ms));
  }
  CHECK(Host::abandoned_threads() == 0);
}

TEST_CASE("what a thread cannot carry is a fault of the configuration, with a remedy") {
  const auto fault_of = [](nlohmann::json child, bool python_in_host = false) {
    child["id"] = "w";
    if (!child.contains("executor")) child["executor"] = "thread";
    LoadOptions options;
    options.python_in_host = python_in_host;
    const LoadOutcome outcome = config_from_json(document_with(child), options);
    return outcome.faults.empty() ? std::string() : outcome.faults[0].message;
  };
  const auto says = [](const std::string& message, const std::string& part) {
    return message.find(part) != std::string::npos;
  };
  CHECK(says(fault_of({{"command", {"true"}}}),
             "a command needs a process of its own; give it the executor \"process\""));
  CHECK(says(fault_of({{"python", "json:dumps"}}), "there is no Python in this one"));
  CHECK(fault_of({{"python", "json:dumps"}}, true) == "");
  CHECK(fault_of({{"native", "stubborn"}}) == "");
  CHECK(says(fault_of({{"native", "stubborn"}, {"executor", "process"}}),
             "a native service lives inside the host"));
  CHECK(says(fault_of({{"native", "stubborn"}, {"user", "root"}}),
             "\"user\" needs a process of its own"));
  CHECK(says(fault_of({{"native", "stubborn"}, {"readiness", {{"kind", "fd"}}}}),
             "\"readiness\" needs a process of its own"));
  CHECK(says(fault_of({{"native", "lib/none.so:echo"}}), "lib/none.so: cannot open shared object"));
}

}  // namespace
}  // namespace unirun
