#include "host/host.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "host/control/control_client.h"
#include "tests/host/test_host.h"

namespace unirun {

using namespace std::chrono_literals;

TEST_CASE("a host starts its trees, stops them in order, and says so") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  CHECK(test.started->ok());
  CHECK(test.saw(EventKind::host_started));
  CHECK(test.saw(EventKind::service_started, "pipeline/ingest"));
  struct stat socket {};
  REQUIRE(::stat((directory / "run/test.sock").c_str(), &socket) == 0);
  CHECK((socket.st_mode & 0777) == 0600);
  struct stat run {};
  REQUIRE(::stat((directory / "run").c_str(), &run) == 0);
  CHECK((run.st_mode & 0777) == 0700);

  test.host->request_stop("the test");
  CHECK(test.run_until_ended() == HostExit::done);
  CHECK(test.events.back().kind() == EventKind::host_stopped);
  CHECK(test.executor.running() == 0);
  CHECK_FALSE(std::filesystem::exists(directory / "run/test.sock"));
}

TEST_CASE("a second host on the same socket is refused with the pid of the first") {
  const TemporaryDirectory directory;
  TestHost first(small_config(directory));
  first.start_and_wait();
  TestHost second(small_config(directory));
  const Status refused = second.start();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::already_started);
  CHECK(refused.error().message.find("pid " + std::to_string(::getpid())) != std::string::npos);
  CHECK(second.executor.launches.empty());
  // The first is untouched.
  CHECK(std::filesystem::exists(directory / "run/test.sock"));
  CHECK(first.ask("status").ok());
}

TEST_CASE("two hosts with journals and sockets of their own live side by side") {
  const TemporaryDirectory one, two;
  TestHost first(small_config(one)), second(small_config(two));
  first.start_and_wait();
  second.start_and_wait();
}

TEST_CASE("a socket that a killed host left does not stand in the way") {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "run");
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (directory / "run/test.sock").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  ::close(dead);
  std::ofstream(directory / "run/test.sock.lock") << "12345\n";

  TestHost test(small_config(directory));
  test.start_and_wait();
  CHECK(test.started->ok());
}

TEST_CASE("what cannot be used is said by name, and nothing has been started") {
  const TemporaryDirectory directory;
  HostConfig config = small_config(directory);
  SUBCASE("a file where the socket's directory should be") {
    std::ofstream(directory / "file") << "x";
    config.control_socket = directory / "file/test.sock";
  }
  SUBCASE("a file where the socket should be") {
    std::filesystem::create_directory(directory / "run");
    std::ofstream(directory / "run/test.sock") << "x";
  }
  SUBCASE("a directory without rights") {
    if (::geteuid() == 0) config.control_socket = "/proc/unirun/test.sock";
    std::filesystem::create_directory(directory / "closed");
    std::filesystem::permissions(directory / "closed", std::filesystem::perms::none);
    if (::geteuid() != 0) config.control_socket = directory / "closed/test.sock";
  }
  SUBCASE("a socket path that is too long") {
    config.control_socket = directory / ("run/" + std::string(120, 'x') + ".sock");
  }
  SUBCASE("a journal where a file is in the way") {
    std::ofstream(directory / "file") << "x";
    config.journal_file = directory / "file/journal.sqlite";
  }
  const std::string named = config.control_socket;
  TestHost test(std::move(config));
  const Status refused = test.start();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::io);
  CHECK(refused.error().message.find('/') != std::string::npos);
  CHECK(test.executor.launches.empty());
  CHECK_FALSE(test.saw(EventKind::host_started));
}

TEST_CASE("a spec that is wrong is refused with every fault") {
  const TemporaryDirectory directory;
  HostConfig config =
      config_in(directory, {supervisor_spec("a", {worker_spec("x"), worker_spec("x")})});
  TestHost test(std::move(config));
  const Status refused = test.start();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::invalid_configuration);
  CHECK_FALSE(std::filesystem::exists(directory / "run/test.sock"));
}

TEST_CASE("a service that does not come up ends the host with 3, everything stopped again") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.executor.cannot_start.insert("worker-2");
  REQUIRE(test.start().ok());
  CHECK(test.run_until_ended() == HostExit::required_service_failed);
  REQUIRE(test.started);
  CHECK_FALSE(test.started->ok());
  CHECK(test.executor.running() == 0);
  CHECK_FALSE(std::filesystem::exists(directory / "run/test.sock"));
}

TEST_CASE("a tree that burns out ends the host with 1") {
  const TemporaryDirectory directory;
  HostConfig config = small_config(directory);
  config.root.max_restarts = 0;
  TestHost test(std::move(config));
  test.start_and_wait();
  for (int i = 0; i < 4; ++i) {
    run_loop_until(test.loop, [&] { return test.executor.crash("pipeline/ingest"); });
  }
  CHECK(test.run_until_ended() == HostExit::gave_up);
  CHECK(test.saw(EventKind::supervisor_gave_up, "pipeline"));
}

TEST_CASE("a transient tree that burns out ends the host with 1 too: nothing else is left") {
  const TemporaryDirectory directory;
  TestHost test(
      config_in(directory, {supervisor_spec("a", {worker_spec("x")}, Restart::transient)}));
  test.start_and_wait();
  for (int i = 0; i < 4; ++i) {
    run_loop_until(test.loop, [&] { return test.executor.crash("a/x"); });
  }
  CHECK(test.run_until_ended() == HostExit::gave_up);
}

TEST_CASE("a tree that was stopped by command keeps the host") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  REQUIRE(test.ask("stop", {{"path", "pipeline"}}).ok());
  REQUIRE(test.ask("status").ok());
  CHECK_FALSE(test.ended);
  CHECK(test.ask("start", {{"path", "pipeline"}}).ok());
  CHECK(test.executor.running() == 4);
}

TEST_CASE("a second request to stop does not wait for those who will not") {
  const TemporaryDirectory directory;
  HostConfig config = small_config(directory);
  TestHost test(std::move(config));
  test.executor.will_not_stop.insert("worker-2");
  test.start_and_wait();
  test.host->request_stop("first");
  test.host->request_stop("second");
  CHECK(test.run_until_ended() == HostExit::done);
}

TEST_CASE("a stop during a slow start is no failed start, and queries are answered meanwhile") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.executor.never_ready.insert("ingest");
  REQUIRE(test.start().ok());
  const auto status = test.ask("status");
  REQUIRE(status.ok());
  CHECK((*status)["host"]["state"] == "starting");
  CHECK((*status)["services"][2]["state"] == "starting");
  test.host->request_stop("the test");
  CHECK(test.run_until_ended() == HostExit::done);
}

TEST_CASE("a death leaves a record that survives the host") {
  const TemporaryDirectory directory;
  {
    TestHost test(small_config(directory));
    test.start_and_wait();
    test.executor.crash("pipeline/ingest", 7);
    run_loop_until(test.loop,
                   [&] { return test.count(EventKind::service_started, "pipeline/ingest") == 2; });
    const auto why = test.ask("why", {{"path", "pipeline/ingest"}});
    REQUIRE(why.ok());
    REQUIRE((*why)["deaths"].size() == 1);
    const auto& death = (*why)["deaths"][0];
    CHECK(death["summary"] == "exit code 7");
    CHECK(death["decision"] == "restarted");
    CHECK(death["rule"].get<std::string>().find("permanent") == 0);
    CHECK((*why)["storm"].is_null());
  }
  TestHost test(small_config(directory));
  test.start_and_wait();
  const auto why = test.ask("why", {{"path", "pipeline/ingest"}});
  REQUIRE(why.ok());
  CHECK((*why)["deaths"].size() == 1);
  CHECK((*why)["causes"][0]["count"] == 1);
}

TEST_CASE("the same death again and again is a storm") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  for (std::size_t i = 1; i <= 3; ++i) {
    run_loop_until(test.loop, [&] { return test.executor.crash("pipeline/ingest", 7); });
    run_loop_until(test.loop, [&] {
      return test.count(EventKind::service_started, "pipeline/ingest") == i + 1;
    });
  }
  const auto why = test.ask("why", {{"path", "pipeline/ingest"}, {"limit", 3}});
  REQUIRE(why.ok());
  CHECK((*why)["storm"]["count"] == 3);
  CHECK((*why)["storm"]["summary"] == "exit code 7");
}

TEST_CASE("a sibling that falls with the dead one stands in its record") {
  const TemporaryDirectory directory;
  ChildSpec tree = supervisor_spec("p", {worker_spec("a"), worker_spec("b"), worker_spec("c")});
  auto spec = std::make_shared<SupervisorSpec>(*tree.supervisor);
  spec->strategy = RestartStrategy::rest_for_one;
  tree.supervisor = spec;
  TestHost test(config_in(directory, {tree}));
  test.start_and_wait();
  test.executor.crash("p/b");
  run_loop_until(test.loop, [&] { return test.count(EventKind::service_started, "p/c") == 2; });
  const auto why = test.ask("why", {{"path", "p/b"}});
  REQUIRE(why.ok());
  CHECK((*why)["deaths"][0]["also_stopped"] == nlohmann::json::array({"p/c"}));
}

TEST_CASE("requests name groups, refuse what is unknown, and say what was meant") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();

  const auto restarted = test.ask("restart", {{"path", "pipeline/worker"}});
  REQUIRE(restarted.ok());
  CHECK((*restarted)["services"].size() == 2);
  CHECK(test.executor.launches["pipeline/worker-2"] == 2);

  const auto misspelt = test.ask("stop", {{"path", "pipeline/ingset"}});
  REQUIRE_FALSE(misspelt.ok());
  CHECK(misspelt.error().code == Errc::not_found);
  CHECK(misspelt.error().message.find("did you mean \"pipeline/ingest\"") != std::string::npos);
  const auto bare = test.ask("service", {{"path", "ingest"}});
  CHECK(bare.error().message.find("did you mean \"pipeline/ingest\"") != std::string::npos);
  CHECK(test.ask("stpo").error().message.find("did you mean \"stop\"") != std::string::npos);
  CHECK(test.ask("stop").error().code == Errc::invalid_argument);
}

TEST_CASE("scale starts the missing and takes away the surplus") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  const auto grown = test.ask("scale", {{"path", "pipeline/worker"}, {"instances", 5}});
  REQUIRE(grown.ok());
  CHECK((*grown)["services"].size() == 5);
  CHECK(test.executor.running() == 7);
  const auto shrunk = test.ask("scale", {{"path", "pipeline/worker"}, {"instances", "1"}});
  REQUIRE(shrunk.ok());
  CHECK((*shrunk)["services"].size() == 1);
  CHECK(test.executor.running() == 3);
  CHECK(test.ask("service", {{"path", "pipeline/worker-2"}}).error().code == Errc::not_found);
  CHECK(test.ask("scale", {{"path", "pipeline/ingest"}, {"instances", 2}}).error().code ==
        Errc::invalid_argument);
  CHECK(test.ask("scale", {{"path", "pipeline/worker"}, {"instances", "many"}}).error().code ==
        Errc::invalid_argument);
}

TEST_CASE("items 41 to 46: OTP's own calls, as requests") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory));
  test.start_and_wait();
  const auto list = test.ask("which_children", {{"path", "pipeline"}});
  REQUIRE(list.ok());
  CHECK((*list)["children"][0]["id"] == "worker-2");  // Newest first.
  CHECK((*list)["children"][3]["id"] == "broker");

  CHECK(test.ask("restart_child", {{"path", "pipeline"}, {"id", "broker"}}).error().code ==
        Errc::running);
  CHECK(test.ask("delete_child", {{"path", "pipeline"}, {"id", "broker"}}).error().code ==
        Errc::running);
  CHECK(test.ask("terminate_child", {{"path", "pipeline"}, {"id", "broker"}}).ok());
  CHECK(test.ask("delete_child", {{"path", "pipeline"}, {"id", "broker"}}).ok());
  CHECK(test.ask("restart_child", {{"path", "pipeline"}, {"id", "broker"}}).error().code ==
        Errc::not_found);
  const auto counts = test.ask("count_children", {{"path", "pipeline"}});
  REQUIRE(counts.ok());
  CHECK((*counts)["specs"] == 3);
  CHECK((*counts)["active"] == 3);

  const nlohmann::json child{{"id", "late"}, {"command", {"true"}}};
  const auto started = test.ask("start_child", {{"path", "pipeline"}, {"child", child}});
  REQUIRE_MESSAGE(started.ok(), started.error().message);
  CHECK((*started)["id"] == "late");
  CHECK(test.ask("start_child", {{"path", "pipeline"}, {"child", child}}).error().code ==
        Errc::already_started);
  const auto spec = test.ask("get_childspec", {{"path", "pipeline"}, {"id", "late"}});
  REQUIRE(spec.ok());
  CHECK((*spec)["restart"] == "permanent");
  const auto wrong =
      test.ask("start_child", {{"path", "pipeline"}, {"child", {{"id", "x"}, {"comand", "y"}}}});
  CHECK(wrong.error().code == Errc::invalid_child_spec);
}

TEST_CASE("SIGUSR2 writes a snapshot, SIGTERM stops, the second one at once") {
  const TemporaryDirectory directory;
  TestHost test(small_config(directory), {.handle_signals = true});
  test.executor.will_not_stop.insert("worker-2");
  test.start_and_wait();
  std::raise(SIGUSR2);
  run_loop_until(test.loop,
                 [&] { return std::filesystem::exists(directory / "state/snapshot.json"); });
  std::ifstream file(directory / "state/snapshot.json");
  CHECK(nlohmann::json::parse(file)["supervisors"][0]["id"] == "pipeline");
  std::raise(SIGHUP);
  run_loop_until(test.loop, [&] { return test.saw(EventKind::warning); });
  std::raise(SIGTERM);
  run_loop_until(test.loop, [&] { return test.saw(EventKind::host_stopping); });
  CHECK_FALSE(test.ended);
  std::raise(SIGTERM);
  CHECK(test.run_until_ended() == HostExit::done);
}

TEST_CASE("a handle outlives its host and says that it has ended") {
  HostHandle handle;
  CHECK(handle.call({"status", {}}).error().code == Errc::unreachable_host);
  {
    const TemporaryDirectory directory;
    TestHost test(small_config(directory));
    test.start_and_wait();
    handle = test.host->handle();
    test.stop();
    CHECK(handle.call({"status", {}}).error().code == Errc::unreachable_host);
  }
  CHECK(handle.call({"status", {}}).error().code == Errc::unreachable_host);
}

}  // namespace unirun
