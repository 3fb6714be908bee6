#include "executors/process/spawner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace {

std::string failure_of(World& world, ServiceSpec spec) {
  const LaunchOutcome outcome = world.launch(std::move(spec));
  CHECK(outcome.state == LaunchOutcome::State::failed);
  CHECK(outcome.reason.kind == ExitKind::start_failed);
  CHECK(outcome.pid == 0);
  CHECK(world.executor->running() == 0);
  return outcome.reason.detail;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::map<std::string, std::string> surroundings(World& world, ServiceSpec spec) {
  spec.target = CommandTarget{{helper(), "show"}};
  const ExitReason reason = world.end_of(std::move(spec));
  CHECK(reason.kind == ExitKind::normal);
  std::map<std::string, std::string> shown;
  for (const std::string& line : world.lines()) {
    const auto equals = line.find('=');
    if (equals != std::string::npos) shown[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return shown;
}

std::string script(const TemporaryFolder& folder, const char* first_line, mode_t mode) {
  const std::string file = folder.file("script");
  std::ofstream(file) << first_line << "\n";
  ::chmod(file.c_str(), mode);
  return file;
}

}  // namespace

TEST_CASE("item 22: a step that fails before the exec is a failed start, told by name") {
  World world;
  const TemporaryFolder folder;
  ServiceSpec spec = command({"true"});
  SUBCASE("exec: no such program in PATH") {
    spec = command({"redis-serverr"});
    spec.env["PATH"] = "/usr/bin:/bin";
    CHECK(failure_of(world, spec) ==
          "exec 'redis-serverr': No such file or directory; looked in PATH=/usr/bin:/bin");
  }
  SUBCASE("exec: no such file") {
    CHECK(failure_of(world, command({"/no/such/file"})) ==
          "exec '/no/such/file': No such file or directory");
  }
  SUBCASE("exec: a script whose interpreter is not there") {
    const std::string file = script(folder, "#!/no/such/interpreter", 0755);
    CHECK(contains(failure_of(world, command({file})), "the interpreter that it names"));
  }
  SUBCASE("exec: a file that may not be executed") {
    const std::string file = script(folder, "#!/bin/sh", 0644);
    CHECK(contains(failure_of(world, command({file})), "Permission denied; it must be a file"));
  }
  SUBCASE("exec: a script that does not say what it is") {
    const std::string file = script(folder, "echo", 0755);
    CHECK(contains(failure_of(world, command({file})), "must begin with a line like #!/bin/sh"));
  }
  SUBCASE("cwd") {
    spec.cwd = "/no/such/folder";
    CHECK(failure_of(world, spec) == "cwd '/no/such/folder': No such file or directory");
  }
  SUBCASE("user") {
    spec.user = "no-such-user";
    CHECK(failure_of(world, spec) == "user 'no-such-user': there is no such user");
  }
  SUBCASE("group") {
    spec.group = "no-such-group";
    CHECK(failure_of(world, spec) == "group 'no-such-group': there is no such group");
  }
  SUBCASE("rlimit: refused by the kernel") {
    spec.rlimits["nofile"] = {1ULL << 40, 1ULL << 40};  // Above fs.nr_open: not even root may.
    CHECK(failure_of(world, spec).rfind("rlimit 'nofile' (soft 1099511627776", 0) == 0);
  }
  SUBCASE("rlimit: soft above hard") {
    spec.rlimits["core"] = {2, 1};
    CHECK(failure_of(world, spec) == "rlimit 'core' (soft 2, hard 1): Invalid argument");
  }
  SUBCASE("rlimit: unknown") {
    spec.rlimits["files"] = {1, 1};
    CHECK(failure_of(world, spec).rfind("rlimit 'files': there is no such resource", 0) == 0);
  }
  SUBCASE("target: empty") {
    CHECK(failure_of(world, command({})) == "target: the command is empty");
  }
  SUBCASE("target: native") {
    spec.target = NativeTarget{"echo"};
    CHECK(contains(failure_of(world, spec), "'echo' is a native service"));
  }
  SUBCASE("readiness: a pattern that is none") {
    spec.readiness = LogReadiness{"(unclosed"};
    CHECK(contains(failure_of(world, spec), "readiness by log: '(unclosed' is no pattern"));
  }
  SUBCASE("readiness: an address that is none") {
    spec.readiness = TcpReadiness{"example", 1};
    CHECK(contains(failure_of(world, spec), "readiness: tcp probe: 'example' is no address"));
  }
  SUBCASE("readiness: a descriptor that is taken") {
    spec.readiness = DescriptorReadiness{1};
    CHECK(contains(failure_of(world, spec), "readiness by fd: 1 is stdin, stdout or stderr"));
  }
}

TEST_CASE("what surrounds a service is what its spec says") {
  World world;
  const TemporaryFolder folder;
  ServiceSpec spec;
  spec.cwd = folder.path();
  spec.umask = 027;
  spec.rlimits["nofile"] = {77, 99};
  spec.nice = 7;
  spec.no_new_privs = true;
  auto shown = surroundings(world, spec);
  CHECK(shown["cwd"] == folder.path());
  CHECK(shown["umask"] == "27");
  CHECK(shown["nofile"] == "77/99");
  CHECK(shown["nice"] == "7");
  CHECK(shown["no_new_privs"] == "1");
}

TEST_CASE("a service starts clean: default signals, three descriptors, a group of its own") {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  World world;
  auto shown = surroundings(world, {});
  CHECK(shown["blocked"] == "0");
  CHECK(shown["sigpipe"] == "default");
  CHECK(shown["death_signal"] == "9");
  CHECK(shown["descriptors"] == "3");
  CHECK(shown["own_group"] == "1");
  CHECK(shown["no_new_privs"] == "0");
  CHECK(shown["uid"] == std::to_string(::getuid()));
  CHECK(shown["nofile"] == std::to_string(before.rlim_cur) + "/" + std::to_string(before.rlim_max));
}

TEST_CASE("root runs a service as another user, with that user's groups and name") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root may change users");
    return;
  }
  World world;
  ServiceSpec spec = command({"/bin/sh", "-c", "id -u; id -g; id -G; echo $USER"});
  spec.user = "nobody";
  spec.cwd = "/";
  CHECK(world.end_of(spec).kind == ExitKind::normal);
  const auto lines = world.lines();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "65534");
  CHECK(lines[1] == lines[2]);
  CHECK(lines[3] == "nobody");
}

TEST_CASE("the environment is the host's, under the spec's, with placeholders filled in") {
  ::setenv("UNIRUN_TEST_INHERITED", "from the host", 1);
  ::setenv("NOTIFY_SOCKET", "/of/the/host", 1);
  World world;
  ::unsetenv("NOTIFY_SOCKET");
  ServiceSpec spec = command(
      {"/bin/sh", "-c", "echo \"$UNIRUN_TEST_INHERITED|$WHO|$NOTIFY_SOCKET|$0|$1|$UNIRUN_RUN\"",
       "{id}", "{instance}{other}"});
  spec.env["WHO"] = "{path}#{instance}";
  world.instance = 4;
  SUBCASE("inherited") {
    CHECK(world.end_of(spec).kind == ExitKind::normal);
    CHECK(world.lines() ==
          std::vector<std::string>{"from the host|tree/service#4||service|4{other}|1"});
  }
  SUBCASE("cleared") {
    spec.clear_env = true;
    CHECK(world.end_of(spec).kind == ExitKind::normal);
    CHECK(world.lines() == std::vector<std::string>{"|tree/service#4||service|4{other}|1"});
  }
}

TEST_CASE("LISTEN_PID is the child's own pid") {
  Spawner spawner;
  SpawnRequest request;
  request.argv = {"/bin/sh", "-c", "test \"$LISTEN_PID\" = $$"};
  request.environment = Environment::of_this_process();
  request.listen_pid = true;
  auto process = spawner.spawn(request);
  REQUIRE(process.ok());
  siginfo_t ended{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(process->pid), &ended, WEXITED) == 0);
  CHECK(ended.si_code == CLD_EXITED);
  CHECK(ended.si_status == 0);
}

TEST_CASE("descriptors land where they are wanted, however their numbers cross") {
  int first[2];
  int second[2];
  REQUIRE(::pipe2(first, O_CLOEXEC) == 0);
  REQUIRE(::pipe2(second, O_CLOEXEC) == 0);
  const UniqueFd read_first(first[0]), write_first(first[1]);
  const UniqueFd read_second(second[0]), write_second(second[1]);
  Spawner spawner;  // Now, for a plain shell knows descriptors up to 9 only.
  SpawnRequest request;
  request.argv = {
      "/bin/sh", "-c",
      "echo one >&" + std::to_string(second[1]) + "; echo two >&" + std::to_string(first[1])};
  request.environment = Environment::of_this_process();
  request.descriptors = {{first[1], second[1]}, {second[1], first[1]}, {2, 2}};
  auto process = spawner.spawn(request);
  REQUIRE(process.ok());
  siginfo_t ended{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(process->pid), &ended, WEXITED) == 0);
  CHECK(ended.si_status == 0);
  char text[16] = {};
  CHECK(::read(first[0], text, sizeof text) == 4);
  CHECK(std::string(text) == "one\n");
}

TEST_CASE("a child gets what is meant for it, and the host keeps what it has") {
  Spawner spawner;
  std::vector<UniqueFd> open;  // As many as some services take, and not closed by an exec.
  for (int i = 0; i < 100; ++i) open.emplace_back(::open("/dev/null", O_RDONLY));
  const auto count = [&](std::size_t meant) {
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    const UniqueFd reading(pipe[0]);
    UniqueFd writing(pipe[1]);
    SpawnRequest request;
    request.argv = {"/bin/ls", "/proc/self/fd"};  // One a line, and one more for the folder.
    request.environment = Environment::of_this_process();
    request.descriptors = {{writing.get(), 1}, {2, 2}};
    for (std::size_t i = 0; i < meant; ++i) {
      request.descriptors.push_back({open[i].get(), static_cast<int>(3 + i)});
    }
    auto process = spawner.spawn(request);
    REQUIRE(process.ok());
    writing.reset();
    int lines = 0;
    // To its end, which comes: no copy of our pipe is left anywhere.
    for (char c = 0; ::read(reading.get(), &c, 1) == 1;) lines += c == '\n' ? 1 : 0;
    siginfo_t ended{};
    REQUIRE(::waitid(P_PID, static_cast<id_t>(process->pid), &ended, WEXITED) == 0);
    return lines - 1;
  };
  CHECK(count(0) == 3);
  CHECK(count(2) == 5);
  CHECK(count(20) == 23);  // More than the launch pad has slots for.
  for (const UniqueFd& descriptor : open) CHECK(::fcntl(descriptor.get(), F_GETFD) == 0);
}
