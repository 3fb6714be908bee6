#include "process_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "executors/process/host_mark.h"
#include "executors/process/process_table.h"

namespace unirun::test {

namespace fs = std::filesystem;

std::string helper() {
  return (fs::read_symlink("/proc/self/exe").parent_path() / "executors_test_helper").string();
}

World::World(ProcessExecutorOptions options) {
  subscription = bus.subscribe(EventKinds::all(), [this](const Event& event) {
    events.push_back(event);
    loop.stop();
  });
  executor = std::make_unique<ProcessExecutor>(loop, bus, output, std::move(options));
  const Status started = executor->start();
  INFO((started ? std::string() : started.error().message));
  REQUIRE(started.ok());
}

World::~World() = default;

bool World::wait_until(const std::function<bool()>& condition, Duration patience) {
  const Instant deadline = clock.now() + patience;
  while (!condition()) {
    if (clock.now() > deadline) return false;
    const TimerId look_again = loop.start_timer(clock.now() + 5ms, [this] { loop.stop(); });
    loop.run();
    loop.cancel_timer(look_again);
  }
  return true;
}

bool World::wait_for_end() {
  return wait_until([this] { return exits.count(last) > 0; });
}

LaunchOutcome World::launch(ServiceSpec spec, const std::string& path) {
  last = RunId{static_cast<std::uint64_t>(last) + 1};
  Launch launch;
  launch.run = last;
  launch.path = path;
  launch.id = path.substr(path.rfind('/') + 1);
  launch.instance = instance;
  launch.service = std::make_shared<const ServiceSpec>(std::move(spec));
  return executor->launch(launch, *this);
}

LaunchOutcome World::launch(std::vector<std::string> argv) {
  return launch(command(std::move(argv)));
}

ExitReason World::end_of(ServiceSpec spec) {
  const LaunchOutcome outcome = launch(std::move(spec));
  INFO(outcome.reason.detail);
  REQUIRE(outcome.state != LaunchOutcome::State::failed);
  REQUIRE(wait_for_end());
  return exits[last];
}

ExitReason World::end_of(std::vector<std::string> argv) { return end_of(command(std::move(argv))); }

void World::drain() {
  bool drained = false;
  executor->drain([&] {
    drained = true;
    loop.stop();
  });
  REQUIRE(wait_until([&] { return drained; }, 60s));
}

void World::on_ready(RunId run) {
  ready.push_back(run);
  loop.stop();
}

void World::on_exited(RunId run, ExitReason reason) {
  CHECK(exits.count(run) == 0);
  exits.emplace(run, std::move(reason));
  loop.stop();
}

void World::on_ignored(RunId run) {
  ignored.push_back(run);
  loop.stop();
}

std::vector<std::string> World::lines(const std::string& path) const {
  std::vector<std::string> texts;
  for (OutputLine& line : output.tail(path, 100000)) texts.push_back(std::move(line.text));
  return texts;
}

std::size_t World::count(EventKind kind) const {
  return static_cast<std::size_t>(std::count_if(
      events.begin(), events.end(), [kind](const Event& event) { return event.kind() == kind; }));
}

ServiceSpec command(std::vector<std::string> argv) {
  ServiceSpec spec;
  spec.target = CommandTarget{std::move(argv)};
  return spec;
}

std::vector<int> living_with_mark(const std::string& mark) {
  std::vector<int> living;
  ProcessWalk walk;
  while (const pid_t pid = walk.next()) {
    ProcessEntry entry;
    char found[HostMark::max_text];
    if (read_environment(pid, host_mark_variable, found, sizeof found) == Found::yes &&
        mark == found && read_process(pid, entry) && !entry.is_dead()) {
      living.push_back(pid);
    }
  }
  return living;
}

std::size_t open_descriptors() {
  const fs::directory_iterator descriptors("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fs::begin(descriptors), fs::end(descriptors)));
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "unirun-test-XXXXXX").string();
  REQUIRE(::mkdtemp(name.data()) != nullptr);
  ::chmod(name.c_str(), 0777);  // Tests that change user write there too.
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() { fs::remove_all(path_); }

std::string content_of(const std::string& file) {
  std::stringstream content;
  content << std::ifstream(file).rdbuf();
  return content.str();
}

}  // namespace unirun::test
