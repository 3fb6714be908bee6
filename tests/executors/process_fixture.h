// What the tests of the process executor share: a world with a real loop and real processes, and
// the helper, a program that behaves as it is told (helper_program.cpp).

#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/output/output_store.h"
#include "executors/process/process_executor.h"
#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun::test {

using namespace std::chrono_literals;

// The path of the helper, which lies beside the test.
[[nodiscard]] std::string helper();

struct World final : RunObserver {
  explicit World(ProcessExecutorOptions options = {});
  ~World() override;

  // Turns the loop until `condition` holds; false if that takes longer than any machine should
  // need.
  [[nodiscard]] bool wait_until(const std::function<bool()>& condition,
                                Duration patience = std::chrono::seconds{20});
  [[nodiscard]] bool wait_for_end();

  LaunchOutcome launch(ServiceSpec spec, const std::string& path = "tree/service");
  // A command that is ready at once.
  LaunchOutcome launch(std::vector<std::string> argv);
  // Launches and waits for the end.
  ExitReason end_of(ServiceSpec spec);
  ExitReason end_of(std::vector<std::string> argv);

  // Waits until no process of this host is left.
  void drain();

  void on_ready(RunId run) override;
  void on_exited(RunId run, ExitReason reason) override;
  void on_ignored(RunId run) override;

  // What the service has printed so far.
  [[nodiscard]] std::vector<std::string> lines(const std::string& path = "tree/service") const;
  [[nodiscard]] std::size_t count(EventKind kind) const;

  SystemClock clock;
  EventLoop loop{clock};
  EventBus bus{clock};
  OutputStore output{loop, bus};
  std::unique_ptr<ProcessExecutor> executor;
  Subscription subscription;

  std::optional<unsigned> instance;  // Of what is launched.
  RunId last{};                      // Of the latest launch.
  std::vector<RunId> ready;
  std::vector<RunId> ignored;
  std::map<RunId, ExitReason> exits;
  std::vector<Event> events;
};

[[nodiscard]] ServiceSpec command(std::vector<std::string> argv);

// Processes that carry `mark` and are not dead.
[[nodiscard]] std::vector<int> living_with_mark(const std::string& mark);

[[nodiscard]] std::size_t open_descriptors();

// A new empty folder below the system's for temporary files, removed with what it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

[[nodiscard]] std::string content_of(const std::string& file);

}  // namespace unirun::test
