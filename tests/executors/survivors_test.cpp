// The survivors table: three endings by five kinds of descendant, as the present user and as an
// ordinary one. Nothing may be left.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "executors/process/credentials.h"
#include "executors/process/environment.h"
#include "executors/process/extermination.h"
#include "executors/process/host_mark.h"
#include "executors/process/process_table.h"
#include "executors/process/spawner.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace fs = std::filesystem;

namespace {

std::vector<pid_t> pids_in(const std::string& file) {
  std::vector<pid_t> pids;
  std::ifstream in(file);
  for (pid_t pid = 0; in >> pid;) pids.push_back(pid);
  return pids;
}

bool is_alive(pid_t pid) {
  ProcessEntry entry;
  return read_process(pid, entry) && !entry.is_dead();
}

bool all_dead(const std::vector<pid_t>& pids) {
  return std::none_of(pids.begin(), pids.end(), is_alive);
}

bool eventually(const std::function<bool()>& condition) {
  const SystemClock clock;
  const Instant deadline = clock.now() + 20s;
  while (!condition()) {
    if (clock.now() > deadline) return false;
    wait_for_the_dying();
  }
  return true;
}

// A host in a process of its own: its programs lie where an ordinary user may run them.
class HostProcess {
 public:
  HostProcess(const std::string& user, const std::string& ending, std::vector<std::string> argv) {
    for (const char* program : {"executors_test_host", "executors_test_helper", "unirun-guard"}) {
      fs::copy_file(fs::path(helper()).parent_path() / program, folder_.file(program));
    }
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    said_.reset(ends[0]);
    const UniqueFd saying(ends[1]);

    SpawnRequest request;
    request.argv = {folder_.file("executors_test_host"), ending,
                    folder_.file("executors_test_helper")};
    request.argv.insert(request.argv.end(), argv.begin(), argv.end());
    for (std::string& argument : request.argv) {
      if (argument == "PIDS") argument = pid_file();
    }
    request.environment = Environment::of_this_process();
    request.descriptors = {{saying.get(), 1}, {2, 2}};
    if (!user.empty()) {
      auto credentials = resolve_credentials(user, "", {});
      REQUIRE(credentials.ok());
      request.credentials = *credentials;
    }
    auto process = spawner_.spawn(request);
    INFO((process ? std::string() : process.error().message));
    REQUIRE(process.ok());
    process_ = std::move(*process);
  }

  ~HostProcess() {
    ::kill(process_.pid, SIGKILL);
    wait();
  }

  // Reads its first line, which is its mark.
  std::string mark() {
    std::string text;
    for (char c = 0; ::read(said_.get(), &c, 1) == 1 && c != '\n';) text.push_back(c);
    REQUIRE_FALSE(text.empty());
    return text;
  }

  void kill() { ::kill(process_.pid, SIGKILL); }

  // Its exit code, or 128 and the signal.
  int wait() {
    if (waited_) return status_;
    siginfo_t ended{};
    while (::waitid(P_PID, static_cast<id_t>(process_.pid), &ended, WEXITED) < 0 &&
           errno == EINTR) {
    }
    waited_ = true;
    status_ = ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
    return status_;
  }

  [[nodiscard]] pid_t pid() const { return process_.pid; }
  [[nodiscard]] std::string pid_file() const { return folder_.file("pids"); }

 private:
  TemporaryFolder folder_;
  Spawner spawner_;
  UniqueFd said_;
  SpawnedProcess process_;
  bool waited_ = false;
  int status_ = 0;
};

// Children of `parent` by the name of their program.
std::vector<pid_t> children_named(pid_t parent, const std::string& name) {
  std::vector<pid_t> found;
  ProcessWalk walk;
  while (const pid_t pid = walk.next()) {
    ProcessEntry entry;
    if (!read_process(pid, entry) || entry.parent != parent || entry.is_dead()) continue;
    if (content_of("/proc/" + std::to_string(pid) + "/comm") == name + "\n") found.push_back(pid);
  }
  return found;
}

// The guards of this very world: one of an earlier test may still be on its way out.
std::vector<pid_t> guards_now(const World& world) {
  std::vector<pid_t> guards = children_named(::getpid(), "unirun-guard");
  const auto is_foreign = [mark = world.executor->host_mark()](pid_t guard) {
    const std::string arguments = content_of("/proc/" + std::to_string(guard) + "/cmdline");
    return arguments.find(mark) == std::string::npos;
  };
  guards.erase(std::remove_if(guards.begin(), guards.end(), is_foreign), guards.end());
  return guards;
}

// A parent is let go before its child's exec has given the child its name and its arguments.
pid_t guard_of(const World& world) {
  REQUIRE(eventually([&] { return guards_now(world).size() == 1; }));
  return guards_now(world).at(0);
}

void no_survivors(const std::string& user, const std::string& ending, const std::string& kinds) {
  CAPTURE(user);
  CAPTURE(ending);
  CAPTURE(kinds);
  HostProcess host(user, ending, {"descend", kinds, "PIDS"});
  const std::string mark = host.mark();
  const std::vector<pid_t> descendants = pids_in(host.pid_file());
  REQUIRE(descendants.size() == kinds.size());
  if (ending == "wait") {
    CHECK(std::all_of(descendants.begin(), descendants.end(), is_alive));
    host.kill();
    CHECK(host.wait() == 128 + SIGKILL);
    CHECK(eventually([&] { return all_dead(descendants); }));
  } else {
    CHECK(host.wait() == 0);
    CHECK(all_dead(descendants));  // At once: an orderly end waits for it.
  }
  CHECK(eventually([&] { return living_with_mark(mark).empty(); }));
}

std::vector<std::string> users() {
  if (::geteuid() == 0) return {"", "nobody"};
  return {""};
}

}  // namespace

TEST_CASE("whole trees die: no survivor of any kind, whatever the ending, whoever the user") {
  for (const std::string& user : users()) {
    for (const char* ending : {"stop", "crash", "wait"}) {
      for (const char* kinds : {"a", "b", "c", "d", "e", "abcdeabcde"}) {
        no_survivors(user, ending, kinds);
      }
    }
  }
}

TEST_CASE("a crash is swept while the host goes on, and the strays are told and reaped") {
  World world;
  const TemporaryFolder folder;
  const ExitReason reason =
      world.end_of({helper(), "descend", "abcde", folder.file("pids"), "exit"});
  CHECK(reason.exit_code == 3);
  const std::vector<pid_t> strays = pids_in(folder.file("pids"));
  REQUIRE(strays.size() == 5);
  // Reaped, too: not even a zombie is left.
  const auto gone = [](pid_t pid) { return ::kill(pid, 0) < 0 && errno == ESRCH; };
  CHECK(world.wait_until([&] { return std::all_of(strays.begin(), strays.end(), gone); }));
  REQUIRE(world.wait_until([&] { return world.count(EventKind::strays_killed) > 0; }));
  for (const Event& event : world.events) {
    if (event.kind() != EventKind::strays_killed) continue;
    CHECK(event.path == "tree/service");
    CHECK(std::get<StraysKilled>(event.payload).count == 4);  // All but the one in the group.
  }
}

TEST_CASE("a sweep spares the daemons of services that live") {
  World world;
  const TemporaryFolder folder;
  world.launch(command({helper(), "descend", "c", folder.file("alive")}), "tree/alive");
  const RunId alive = world.last;
  REQUIRE(world.wait_until([&] { return !world.lines("tree/alive").empty(); }));
  CHECK(world.end_of({helper(), "descend", "c", folder.file("dead"), "exit"}).exit_code == 3);
  REQUIRE(world.wait_until([&] { return all_dead(pids_in(folder.file("dead"))); }));
  REQUIRE(world.wait_until([&] { return world.count(EventKind::strays_killed) > 0; }));
  const std::vector<pid_t> daemons = pids_in(folder.file("alive"));
  CHECK(daemons.size() == 1);
  CHECK(std::all_of(daemons.begin(), daemons.end(), is_alive));
  CHECK(world.exits.count(alive) == 0);
  world.executor->kill(alive);
  REQUIRE(world.wait_until([&] { return all_dead(pids_in(folder.file("alive"))); }));
}

TEST_CASE("an adopted process that ends by itself is reaped while its service lives") {
  World world;
  // The inner shell is orphaned at once and ends a moment later.
  world.launch({"/bin/sh", "-c", "(sh -c 'echo $$' &) ; exec " + helper() + " wait"});
  REQUIRE(world.wait_until([&] { return !world.lines().empty(); }));
  const pid_t orphan = std::stoi(world.lines().front());
  CHECK(world.wait_until([&] { return ::kill(orphan, 0) < 0 && errno == ESRCH; }));
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
}

TEST_CASE("a fork bomb in sessions of its own loses, against the sweep and against the guard") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root can put the bomb under a user with a limit of its own");
    return;
  }
  for (const char* ending : {"crash", "wait"}) {
    CAPTURE(ending);
    HostProcess host("nobody", ending, {"bomb"});
    const std::string mark = host.mark();
    if (std::string(ending) == "wait") host.kill();
    host.wait();
    CHECK(eventually([&] { return living_with_mark(mark).empty(); }));
  }
}

TEST_CASE("one that is for ever in the midst of an exec is found all the same") {
  HostProcess host("", "wait", {"exec-for-ever", "PIDS"});
  const std::string mark = host.mark();
  const std::vector<pid_t> descendants = pids_in(host.pid_file());
  REQUIRE(descendants.size() == 1);
  host.kill();
  host.wait();
  CHECK(eventually([&] { return all_dead(descendants); }));
}

TEST_CASE("a guard that is killed is started again, with a warning") {
  World world;
  const pid_t first = guard_of(world);
  ::kill(first, SIGKILL);
  REQUIRE(world.wait_until([&] { return world.count(EventKind::warning) > 0; }));
  REQUIRE(world.wait_until([&] {
    const auto now = guards_now(world);
    return now.size() == 1 && now.front() != first;
  }));
}

TEST_CASE("the guard goes when its host says goodbye") {
  pid_t guard = 0;
  {
    const World world;
    guard = guard_of(world);
  }
  CHECK(::kill(guard, 0) < 0);
}

TEST_CASE("a guard that has nothing left to look for goes at the end of the drain, and for good") {
  World world;
  const pid_t guard = guard_of(world);
  CHECK(world.end_of({"true"}).kind == ExitKind::normal);
  world.drain();
  CHECK(world.wait_until([&] {
    ProcessEntry entry;
    return !read_process(guard, entry) || entry.is_dead();
  }));
  CHECK(world.count(EventKind::warning) == 0);
}

TEST_CASE("without a guard's program nothing starts, and the error names every place") {
  SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  OutputStore output(loop, bus);
  ProcessExecutorOptions options;
  options.guard_program = "/no/such/unirun-guard";
  ProcessExecutor executor(loop, bus, output, options);
  const Status started = executor.start();
  REQUIRE_FALSE(started.ok());
  CHECK(started.error().message.find("/no/such/unirun-guard") != std::string::npos);
  CHECK(started.error().message.find("UNIRUN_LIBEXEC") != std::string::npos);
}

TEST_CASE("the next start finishes what a killed guard left") {
  HostProcess host("", "wait", {"descend", "bcd", "PIDS"});
  const std::string mark = host.mark();
  const std::vector<pid_t> descendants = pids_in(host.pid_file());
  const auto guards = children_named(host.pid(), "unirun-guard");
  REQUIRE(guards.size() == 1);
  // Both in one moment: the host must not have the time to start another.
  ::kill(host.pid(), SIGSTOP);
  ::kill(guards.front(), SIGKILL);
  host.kill();
  host.wait();
  CHECK(living_with_mark(mark).size() >= 3);
  const World next;
  CHECK(living_with_mark(mark).empty());
  CHECK(all_dead(descendants));
}

TEST_CASE("an environment is told from one that is empty, and from a kernel thread's") {
  char value[64];
  ::setenv("UNIRUN_TEST_LATE", "set after the start", 1);
  CHECK(read_environment(::getpid(), "UNIRUN_TEST_LATE", value, sizeof value) == Found::no);
  CHECK(read_environment(::getpid(), "PATH", value, 2) == Found::no);  // No room.
  Spawner spawner;
  SpawnRequest request;
  request.argv = {helper(), "wait"};
  const auto spawned = [&] {
    auto process = spawner.spawn(request);
    REQUIRE(process.ok());
    CHECK(eventually([&] {
      return read_environment(process->pid, "NAME", value, sizeof value) != Found::unclear;
    }));
    const Found found = read_environment(process->pid, "NAME", value, sizeof value);
    ::kill(process->pid, SIGKILL);
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(process->pid), &ended, WEXITED);
    return found;
  };
  CHECK(spawned() == Found::no);  // Empty, but there.
  request.environment.set("NAMES", "no");
  request.environment.set("NAM", "no");
  request.environment.set("ANAME", "no");
  CHECK(spawned() == Found::no);
  request.environment.set("NAME", "a=b");
  CHECK(spawned() == Found::yes);
  CHECK(std::string(value) == "a=b");
  ProcessEntry second;
  if (read_process(2, second) && second.is_kernel_thread) {
    CHECK(read_environment(2, "NAME", value, sizeof value) == Found::no);
  }
}

TEST_CASE("a mark reads back as it was written, and nothing else reads as one") {
  const HostMark mark = HostMark::of_this_process(0xfeedface12345678U);
  char text[HostMark::max_text];
  mark.write(text);
  HostMark read;
  REQUIRE(HostMark::parse(text, read));
  CHECK(read.pid == ::getpid());
  CHECK(read.start_time == mark.start_time);
  CHECK(read.pid_namespace == mark.pid_namespace);
  CHECK(read.user == ::geteuid());
  CHECK(read.chance == mark.chance);
  CHECK_FALSE(read.is_dead());
  read.start_time += 1;
  CHECK(read.is_dead());
  for (const char* other : {"", "1", "1.2.3.4", "1.2.3.4.5 ", "x.2.3.4.5", "1.2.3.4.5.6"}) {
    CAPTURE(other);
    CHECK_FALSE(HostMark::parse(other, read));
  }
}
