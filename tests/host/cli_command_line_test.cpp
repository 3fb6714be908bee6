// The command line by itself: what it accepts, what it says, what it ends with. Hosts are met in
// tests/python.

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "framework/version.h"
#include "host/cli/command_line.h"
#include "host/cli/completion.h"
#include "host/cli/find_host.h"
#include "host/cli/local_commands.h"
#include "host/config/load_config.h"
#include "tests/host/config_fixture.h"

namespace unirun {
namespace {

struct Ran {
  int code = -1;
  std::string out, error;
};

Ran run(std::vector<const char*> arguments) {
  std::ostringstream out, error;
  const Console console{out, error, {}, {}};
  arguments.insert(arguments.begin(), "unirun");
  const ExitCode code =
      run_command_line(static_cast<int>(arguments.size()), arguments.data(), console);
  return {static_cast<int>(code), out.str(), error.str()};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("what is no command line ends with 2, and says what would be one") {
  CHECK(run({}).code == 2);
  CHECK(run({"--no-such-option"}).code == 2);
  CHECK(run({"up"}).code == 2);
  CHECK(run({"scale", "a"}).code == 2);
  CHECK(run({"scale", "a", "many"}).code == 2);
  CHECK(run({"completion", "tcsh"}).code == 2);

  const Ran misspelt = run({"statsu"});
  CHECK(misspelt.code == 2);
  CHECK_MESSAGE(has(misspelt.error, "Did you mean \"unirun status\"?"), misspelt.error);

  const Ran bare = run({"up", "x.json", "--for", "10"});
  CHECK(bare.code == 2);
  CHECK_MESSAGE(has(bare.error, "is not a duration"), bare.error);
}

TEST_CASE("help and version end with 0") {
  const Ran help = run({"--help"});
  CHECK(help.code == 0);
  for (const char* command :
       {"up", "validate", "schema", "status", "tree", "events", "logs", "start", "stop", "restart",
        "kill", "scale", "why", "shutdown", "version", "completion"}) {
    CHECK_MESSAGE(has(help.out, command), command);
    CHECK(run({command, "--help"}).code == 0);
  }
  CHECK(run({"--version"}).out == "unirun " + std::string(version()) + "\n");
  CHECK(run({"version"}).out == "unirun " + std::string(version()) + "\n");
  CHECK(nlohmann::json::parse(run({"version", "--json"}).out).at("version") == version());
}

TEST_CASE("the schema comes out as it went in") {
  const Ran schema = run({"schema"});
  CHECK(schema.code == 0);
  CHECK(nlohmann::json::parse(schema.out).at("required").at(0) == "supervisors");
}

TEST_CASE("a configuration with faults ends with 78, each fault told") {
  const TemporaryDirectory directory;
  directory.write("bad.json", "{\"supervisors\": [{\"id\": \"s\", \"childrn\": []}]}");
  const std::string path = directory.path() + "/bad.json";
  const Ran people = run({"validate", path.c_str()});
  CHECK(people.code == 78);
  CHECK_MESSAGE(has(people.error, "did you mean \"children\"?"), people.error);
  const Ran machine = run({"validate", path.c_str(), "--json"});
  CHECK(machine.code == 78);
  const auto answer = nlohmann::json::parse(machine.out);
  CHECK(answer.at("valid") == false);
  CHECK(answer.at("faults").at(0).at("pointer") == "/supervisors/0/childrn");
  // `up` refuses it the same way, before anything starts.
  const Ran up = run({"up", path.c_str()});
  CHECK(up.code == 78);
  CHECK(up.error == people.error);
  CHECK(run({"validate", "/no/such/file.json"}).code == 78);
}

TEST_CASE("a valid configuration is counted") {
  const std::string path = in_source_tree("configs/minimal.json");
  const Ran ran = run({"validate", path.c_str()});
  CHECK_MESSAGE(ran.code == 0, ran.error);
  CHECK(ran.out == path + ": valid, 1 supervisor and 1 worker\n");
  const Ran as_json = run({"validate", path.c_str(), "--json"});
  CHECK(nlohmann::json::parse(as_json.out).at("config").at("host").at("name") == "minimal");
}

TEST_CASE("with nobody behind the socket every command ends with 4") {
  for (std::vector<const char*> command : {std::vector<const char*>{"status"},
                                           {"tree"},
                                           {"events"},
                                           {"logs", "a"},
                                           {"start", "a"},
                                           {"stop", "a"},
                                           {"restart", "a"},
                                           {"kill", "a"},
                                           {"scale", "a", "2"},
                                           {"why", "a"},
                                           {"shutdown"}}) {
    command.push_back("--socket");
    command.push_back("/no/such/unirun.sock");
    CAPTURE(command[0]);
    const Ran ran = run(command);
    CHECK(ran.code == 4);
    CHECK(has(ran.error, "/no/such/unirun.sock"));
  }
}

// A socket that listens and never answers.
class Listener {
 public:
  explicit Listener(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, path.size());
    REQUIRE(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(fd_, 1) == 0);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener() { close(fd_); }

 private:
  int fd_;
};

TEST_CASE("the only host that runs is the one that is meant") {
  const TemporaryDirectory directory;
  HostChoice choice;
  choice.runtime_directory = directory.path();

  const auto none = find_host(choice);
  REQUIRE_FALSE(none.ok());
  CHECK(none.error().code == Errc::unreachable_host);
  CHECK(has(none.error().message, "unirun up"));

  const Listener first(directory.path() + "/one.sock");
  { const Listener killed(directory.path() + "/stale.sock"); }
  CHECK(*find_host(choice) == directory.path() + "/one.sock");

  const Listener second(directory.path() + "/two.sock");
  const auto several = find_host(choice);
  REQUIRE_FALSE(several.ok());
  CHECK(has(several.error().message, "several hosts run: one two; choose one with --name"));

  choice.name = "two";
  CHECK(*find_host(choice) == directory.path() + "/two.sock");
  choice.socket = "/elsewhere.sock";
  CHECK(*find_host(choice) == "/elsewhere.sock");
}

TEST_CASE("completion knows every command and every option, in each shell") {
  for (const std::string& shell : completion_shells()) {
    CAPTURE(shell);
    const Ran ran = run({"completion", shell.c_str()});
    CHECK(ran.code == 0);
    for (const char* word : {"validate", "shutdown", "follow", "socket", "unirun status --json"}) {
      CHECK_MESSAGE(has(ran.out, word), word);
    }
  }
}

TEST_CASE("the script for bash completes in a real bash") {
  const TemporaryDirectory directory;
  directory.write("script", run({"completion", "bash"}).out);
  const std::string command =
      "bash -c 'source " + directory.path() +
      "/script; COMP_WORDS=(unirun va); COMP_CWORD=1; _unirun; "
      "echo ${COMPREPLY[*]}; COMP_WORDS=(unirun events --fo); COMP_CWORD=2; "
      "_unirun; echo ${COMPREPLY[*]}' > " +
      directory.path() + "/out";
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream stream(directory.path() + "/out");
  const std::string out((std::istreambuf_iterator<char>(stream)), {});
  CHECK(out == "validate\n--follow\n");
}

}  // namespace
}  // namespace unirun
