// executors_test_host: a small host with one service that leaves descendants, for the tests of what
// is left when a host ends in one way or another.
//
//   executors_test_host ENDING COMMAND...
//
// Prints its mark once the service has printed a line, then ends: "stop" and "crash"
// (of the service) in order, "wait" never: somebody will kill it.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "executors/output/output_store.h"
#include "executors/process/process_executor.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace {

using namespace unirun;

class SmallHost final : public RunObserver {
 public:
  explicit SmallHost(std::string_view ending) : ending_(ending) {}

  int run(std::vector<std::string> argv) {
    if (const Status started = executor_.start(); !started) {
      std::fprintf(stderr, "%s\n", started.error().message.c_str());
      return 1;
    }
    const Registration said = output_.follow(
        {}, [this](const std::string&, const OutputLine&) { loop_.post([this] { end(); }); });
    // The limit counts all that its user runs: for the bomb alone, or a bomb in another test keeps
    // ours from their descendants.
    const bool is_bomb = argv.size() > 1 && argv[1] == "bomb";
    auto spec = std::make_shared<ServiceSpec>();
    spec->target = CommandTarget{std::move(argv)};
    if (is_bomb && ::geteuid() != 0) spec->rlimits["nproc"] = {64, 64};
    Launch launch;
    launch.run = RunId{1};
    launch.path = launch.id = "service";
    launch.service = std::move(spec);
    const LaunchOutcome outcome = executor_.launch(launch, *this);
    if (outcome.state == LaunchOutcome::State::failed) {
      std::fprintf(stderr, "%s\n", outcome.reason.detail.c_str());
      return 1;
    }
    pid_ = static_cast<pid_t>(outcome.pid);
    loop_.run();
    return 0;
  }

  void on_ready(RunId) override {}
  void on_exited(RunId, ExitReason) override {
    executor_.drain([this] { loop_.stop(); });
  }

 private:
  void end() {
    std::printf("%s\n", executor_.host_mark().c_str());
    std::fflush(stdout);
    if (ending_ == "stop") executor_.request_stop(RunId{1});
    if (ending_ == "crash") ::kill(pid_, SIGKILL);
  }

  const std::string_view ending_;
  SystemClock clock_;
  EventLoop loop_{clock_};
  EventBus bus_{clock_};
  OutputStore output_{loop_, bus_};
  ProcessExecutor executor_{loop_, bus_, output_};
  pid_t pid_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: executors_test_host ENDING COMMAND...\n", stderr);
    return 2;
  }
  return SmallHost(argv[1]).run({argv + 2, argv + argc});
}
