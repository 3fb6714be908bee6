// The process executor alone, between the bare floor (benchmarks/supervision/floor.c) and the whole
// host: starts COUNT children "PROGRAM ID" and starts each again when it dies. No supervisor.
//
// usage: executor_loop COUNT PROGRAM     SIGTERM kills them all and ends. With FLOOR_BALLAST_MB
// set, so much memory is resident first.

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/output/output_store.h"
#include "executors/process/process_executor.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace {

using namespace unirun;

class Restarts final : public RunObserver {
 public:
  explicit Restarts(ProcessExecutor& executor) : executor_(executor) {}

  bool start(std::shared_ptr<const ServiceSpec> spec) {
    Launch launch;
    launch.run = RunId{++last_run_};
    launch.id = launch.path = std::get<CommandTarget>(spec->target).argv.back();
    launch.service = spec;
    const LaunchOutcome outcome = executor_.launch(launch, *this);
    if (outcome.state == LaunchOutcome::State::failed) {
      std::fprintf(stderr, "%s\n", outcome.reason.detail.c_str());
      return false;
    }
    specs_[launch.run] = std::move(spec);
    return true;
  }

  void on_ready(RunId) override {}
  void on_exited(RunId run, ExitReason) override {
    const auto found = specs_.find(run);
    const auto spec = std::move(found->second);
    specs_.erase(found);
    start(spec);
  }

 private:
  ProcessExecutor& executor_;
  std::uint64_t last_run_ = 0;
  std::map<RunId, std::shared_ptr<const ServiceSpec>> specs_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: executor_loop COUNT PROGRAM\n", stderr);
    return 2;
  }
  std::vector<char> ballast;
  if (const char* megabytes = std::getenv("FLOOR_BALLAST_MB")) {
    ballast.assign(std::stoul(megabytes) << 20, 'x');
  }
  SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  OutputStore output(loop, bus);
  ProcessExecutor executor(loop, bus, output);
  if (const Status started = executor.start(); !started) {
    std::fprintf(stderr, "%s\n", started.error().message.c_str());
    return 1;
  }
  Restarts restarts(executor);
  for (int id = 0; id < std::atoi(argv[1]); ++id) {
    auto spec = std::make_shared<ServiceSpec>();
    spec->target = CommandTarget{{argv[2], std::to_string(id)}};
    if (!restarts.start(std::move(spec))) return 1;
  }
  const Watch stop = loop.watch_signal(SIGTERM, [&] { loop.stop(); });
  loop.run();
  return 0;
}
