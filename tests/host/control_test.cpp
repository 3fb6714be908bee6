#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <thread>

#include "framework/random.h"
#include "host/background_host.h"
#include "host/control/control_client.h"
#include "host/control/http_message.h"
#include "host/control/routes.h"
#include "host/requests/requests.h"
#include "tests/host/test_host.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

// A host on a thread of its own, and a client.
struct Served {
  Served() {
    HostOptions options;
    options.executor = &executor;
    host = std::make_unique<BackgroundHost>(small_config(directory), options);
    host->run_before_start([this](EventLoop& loop) { executor.use(loop); });
    REQUIRE(host->start().ok());
    client.set_timeout(2min);
  }
  ~Served() {
    host->request_stop("the test");
    CHECK(host->wait(30s) == HostExit::done);
  }
  void on_loop(const std::function<void()>& function) {
    REQUIRE(host->run_on_loop([&](Host&) { function(); }));
  }

  const TemporaryDirectory directory;
  FakeExecutor executor;
  std::unique_ptr<BackgroundHost> host;
  ControlClient client{directory / "run/test.sock"};
};

// A connection by hand, for those who do not speak as they should.
class RawConnection {
 public:
  explicit RawConnection(const std::string& socket_path)
      : descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = ::connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawConnection() { ::close(descriptor_); }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  void send(std::string_view bytes) {
    (void)!::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // All until the other end closes.
  std::string read_all() {
    std::string all;
    std::array<char, 4096> bytes;
    for (ssize_t n = 0; (n = ::recv(descriptor_, bytes.data(), bytes.size(), 0)) > 0;) {
      all.append(bytes.data(), static_cast<std::size_t>(n));
    }
    return all;
  }
  std::string read_some() {
    std::array<char, 4096> bytes;
    const ssize_t n = ::recv(descriptor_, bytes.data(), bytes.size(), 0);
    return n > 0 ? std::string(bytes.data(), static_cast<std::size_t>(n)) : "";
  }

 private:
  int descriptor_;
  bool connected_ = false;
};

HttpMessage ask_raw(const std::string& socket_path, const std::string& bytes) {
  RawConnection connection(socket_path);
  REQUIRE(connection.connected());
  connection.send(bytes);
  HttpReader reader(HttpReader::Kind::response, {});
  const std::string answer = connection.read_all();
  REQUIRE(reader.feed(answer).ok());
  reader.end_of_input();
  REQUIRE(reader.complete());
  return reader.take();
}

}  // namespace

TEST_CASE("every route answers, and docs/openapi.json describes the same ones") {
  std::ifstream file(std::string(UNIRUN_SOURCE_DIR) + "/docs/openapi.json");
  const json document = json::parse(file);
  CHECK(document["openapi"] == "3.1.0");
  std::size_t described = 0;
  for (const auto& [path, methods] : document["paths"].items()) described += methods.size();
  CHECK(described == routes().size());
  for (const Route& route : routes()) {
    CAPTURE(route.pattern);
    std::string method(route.method);
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    REQUIRE(document["paths"].contains(std::string(route.pattern)));
    REQUIRE(document["paths"][std::string(route.pattern)].contains(method));
    CHECK(document["paths"][std::string(route.pattern)][method]["operationId"] ==
          std::string(route.request));
  }
  for (const RequestInfo& request : requests()) {
    CAPTURE(request.name);
    std::size_t found = 0;
    for (const Route& route : routes()) {
      if (route.request != request.name) continue;
      ++found;
      CHECK((route.method == "POST") == request.changes);  // A GET changes nothing.
    }
    CHECK(found == 1);
  }
}

TEST_CASE("queries and commands go over the socket") {
  Served served;
  const auto version = served.client.get("/v1/version");
  REQUIRE_MESSAGE(version.ok(), version.error().message);
  CHECK((*version)["api"] == control_api_version);
  CHECK((*version)["pid"] == ::getpid());
  const auto status = served.client.get("/v1/status");
  REQUIRE(status.ok());
  CHECK((*status)["services"].size() == 5);
  const auto tree = served.client.get("/v1/tree");
  REQUIRE(tree.ok());
  CHECK((*tree)["supervisors"][0]["children"].size() == 4);
  CHECK(served.client.get("/v1/services/pipeline/ingest")->at("state") == "running");
  CHECK(served.client.get("/v1/services/pipeline/worker")->at("instances").size() == 2);

  CHECK(served.client.post("/v1/services/pipeline/ingest/stop").ok());
  CHECK(served.client.get("/v1/services/pipeline/ingest")->at("state") == "stopped");
  CHECK(served.client.post("/v1/services/pipeline/ingest/start").ok());
  CHECK(served.client.post("/v1/services/pipeline/ingest/restart").ok());
  CHECK(served.client.post("/v1/services/pipeline/ingest/kill").ok());
  CHECK(served.client.post("/v1/services/pipeline/worker/scale", {{"instances", 3}}).ok());

  CHECK(served.client.get("/v1/supervisors/pipeline/which_children")->at("children").size() == 5);
  CHECK(served.client.get("/v1/supervisors/which_children")->at("children").size() == 1);
  CHECK(served.client.get("/v1/supervisors/pipeline/count_children")->at("workers") == 5);
  CHECK(served.client.get("/v1/supervisors/pipeline/get_childspec/broker")->at("id") == "broker");
  CHECK(served.client.post("/v1/supervisors/pipeline/terminate_child", {{"id", "broker"}}).ok());
  CHECK(served.client.post("/v1/supervisors/pipeline/restart_child", {{"id", "broker"}}).ok());
  CHECK(served.client.post("/v1/supervisors/pipeline/terminate_child", {{"id", "broker"}}).ok());
  CHECK(served.client.post("/v1/supervisors/pipeline/delete_child", {{"id", "broker"}}).ok());
  const json child{{"id", "late"}, {"command", {"true"}}};
  CHECK(served.client.post("/v1/supervisors/pipeline/start_child", {{"child", child}}).ok());

  CHECK(served.client.get("/v1/events?limit=5")->at("events").size() == 5);
  CHECK(served.client.get("/v1/logs/pipeline/ingest?tail=3")->at("lines").empty());
  CHECK(served.client.get("/v1/why/pipeline/ingest").ok());
}

TEST_CASE("errors keep their word and get the status that belongs to them") {
  Served served;
  const std::string socket = served.directory / "run/test.sock";
  const auto unknown = served.client.get("/v1/services/pipeline/ingset");
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.error().code == Errc::not_found);
  CHECK(unknown.error().message.find("pipeline/ingest") != std::string::npos);
  CHECK(served.client.post("/v1/supervisors/pipeline/delete_child", {{"id", "broker"}})
            .error()
            .code == Errc::running);
  const auto status_of = [&](const std::string& head, const std::string& body = "") {
    return ask_raw(socket, head + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
                               std::to_string(body.size()) + "\r\n\r\n" + body)
        .status;
  };
  CHECK(status_of("GET /v1/services/nobody") == 404);
  CHECK(status_of("GET /v1/nothing") == 404);
  CHECK(status_of("GET /") == 404);
  CHECK(status_of("DELETE /v1/status") == 405);
  CHECK(status_of("GET /v1/shutdown") == 405);
  CHECK(status_of("POST /v1/supervisors/pipeline/start_child", "{not json") == 400);
  CHECK(status_of("POST /v1/supervisors/pipeline/start_child", "[1]") == 400);
  CHECK(status_of("POST /v1/supervisors/pipeline/delete_child", R"({"id": "broker"})") == 409);
  CHECK(status_of("GET /v1/events?limit=many") == 400);
  CHECK(status_of("GET /v1/services/%zz") == 400);
  CHECK(status_of("POST /v1/shutdown", std::string(2 << 20, ' ')) == 400);
}

TEST_CASE("nobody there is said with the socket and the remedy") {
  const TemporaryDirectory directory;
  const auto gone = ControlClient(directory / "x.sock").get("/v1/status");
  CHECK(gone.error().code == Errc::unreachable_host);
  CHECK(gone.error().message.find("x.sock") != std::string::npos);
  CHECK(gone.error().message.find("unirun up") != std::string::npos);
}

TEST_CASE("garbage gets 400 or the door, and the host goes on") {
  Served served;
  const std::string socket = served.directory / "run/test.sock";
  const std::uint64_t seed = Random::system_seed();
  CAPTURE(seed);
  Random random(seed);
  for (int i = 0; i < 200; ++i) {
    RawConnection connection(socket);
    std::string bytes;
    for (std::uint64_t n = random.below(3000); n > 0; --n) {
      bytes += static_cast<char>(random.below(256));
    }
    if (random.chance(0.5)) bytes.insert(0, "GET /v1/status HTTP/1.1\r\n");
    connection.send(bytes);
    if (random.chance(0.5)) connection.send("\r\n\r\n");
  }
  CHECK(ask_raw(socket, "\x16\x03\x01 this is no HTTP\r\n\r\n").status == 400);
  CHECK(ask_raw(socket, "GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n\r\n").status == 400);
  CHECK(served.client.get("/v1/status").ok());
}

TEST_CASE("requests may share a connection, and may come before the answer") {
  Served served;
  RawConnection connection(served.directory / "run/test.sock");
  const std::string request = "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n";
  connection.send(request + request +
                  "GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string all = connection.read_all();
  std::size_t answers = 0;
  for (std::size_t at = 0; (at = all.find("HTTP/1.1 200", at)) != std::string::npos; ++at) {
    ++answers;
  }
  CHECK(answers == 3);
}

TEST_CASE("five hundred connections that say nothing cost nobody anything") {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  Served served;
  std::vector<std::unique_ptr<RawConnection>> idle;
  for (int i = 0; i < 500; ++i) {
    idle.push_back(std::make_unique<RawConnection>(served.directory / "run/test.sock"));
    REQUIRE(idle.back()->connected());
    if (i % 2 == 0) idle.back()->send("GET /v1/sta");  // A slow one.
  }
  CHECK(served.client.get("/v1/status").ok());
  // Beyond the limit one is told so.
  for (int i = 0; i < 150; ++i) {
    idle.push_back(std::make_unique<RawConnection>(served.directory / "run/test.sock"));
  }
  const auto refused = served.client.get("/v1/status");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("too many connections") != std::string::npos);
  idle.clear();
  bool answered = false;
  for (int i = 0; i < 1000 && !answered; ++i) answered = served.client.get("/v1/status").ok();
  CHECK(answered);
}

TEST_CASE("a stranger is shown the door") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root can become a stranger");
    return;
  }
  Served served;
  // Even where the file's mode would let them in.
  ::chmod(served.directory.path().c_str(), 0755);
  ::chmod((served.directory / "run").c_str(), 0755);
  ::chmod((served.directory / "run/test.sock").c_str(), 0666);
  const std::string socket = served.directory / "run/test.sock";
  std::array<int, 2> verdict{};
  REQUIRE(::pipe(verdict.data()) == 0);
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    if (::setuid(65534) != 0) ::_exit(9);
    RawConnection connection(socket);
    connection.send("GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ::_exit(connection.connected() && connection.read_all().empty() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(stranger, &status, 0);
  ::close(verdict[0]);
  ::close(verdict[1]);
  CHECK(status == 0);
}

TEST_CASE("a stream tells the past and then the present, without a gap and nothing twice") {
  Served served;
  std::vector<std::uint64_t> seen;
  std::thread crasher([&] {
    for (int i = 0; i < 20; ++i) {
      (void)served.client.post("/v1/services/pipeline/ingest/restart");
    }
  });
  const auto last_restart = [](const json& event) {
    return event["event"] == "service_started" && event["path"] == "pipeline/ingest";
  };
  int started = 0;
  const Status status = served.client.stream("/v1/events?follow=1&since=1", [&](const json& event) {
    seen.push_back(event["sequence"]);
    if (last_restart(event)) ++started;
    return started < 21;
  });
  crasher.join();
  REQUIRE(status.ok());
  for (std::size_t i = 0; i < seen.size(); ++i) REQUIRE(seen[i] == i + 2);
}

TEST_CASE("a stream can be filtered by path and kind") {
  Served served;
  std::thread restarter([&] { (void)served.client.post("/v1/services/pipeline/worker/restart"); });
  std::vector<std::string> kinds;
  const Status status = served.client.stream(
      "/v1/events?follow=1&since=1&path=pipeline/worker-2&kinds=service_exited,service_stopping",
      [&](const json& event) {
        CHECK(event["path"] == "pipeline/worker-2");
        kinds.push_back(event["event"]);
        return kinds.size() < 2;
      });
  restarter.join();
  CHECK(status.ok());
  CHECK(kinds == std::vector<std::string>{"service_stopping", "service_exited"});
}

TEST_CASE("a client that reads nothing loses events and is told how many, nobody waits") {
  Served served;
  RawConnection slow(served.directory / "run/test.sock");
  slow.send("GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(slow.read_some().find("200 OK") != std::string::npos);
  const std::string filler(2000, 'x');
  for (int round = 0; round < 50; ++round) {
    REQUIRE(served.host->run_on_loop([&](Host& host) {
      for (int i = 0; i < 100; ++i) {
        host.events().publish("x", ServiceStatusText{RunId{1}, filler});
      }
    }));
  }
  CHECK(served.client.get("/v1/status").ok());
  bool told = false;
  for (std::string rest; !told;) {
    const std::string more = slow.read_some();
    REQUIRE_FALSE(more.empty());
    rest += more;
    told = rest.find("event: observer_dropped") != std::string::npos;
    if (rest.size() > 100'000) rest.erase(0, 90'000);
  }
  CHECK(told);
}

TEST_CASE("streams end with the host, after its last event") {
  auto served = std::make_unique<Served>();
  const ControlClient client(served->directory / "run/test.sock");
  std::string last;
  std::atomic<bool> following{false};
  Status status;
  std::thread follower([&] {
    status = client.stream("/v1/events?follow=1&limit=1", [&](const json& event) {
      last = event["event"];
      following = true;
      return true;
    });
  });
  while (!following) served->on_loop([] {});
  served->host->request_stop("the test");
  CHECK(served->host->wait(30s) == HostExit::done);
  follower.join();
  CHECK(status.ok());
  CHECK(last == "host_stopped");
}

TEST_CASE("a client that leaves in the middle of a slow command harms nobody") {
  Served served;
  served.on_loop([&] { served.executor.will_not_stop.insert("ingest"); });
  {
    RawConnection hasty(served.directory / "run/test.sock");
    hasty.send("POST /v1/services/pipeline/ingest/stop HTTP/1.1\r\nHost: x\r\n\r\n");
    // The command has arrived when the service shows it.
    while (served.client.get("/v1/services/pipeline/ingest")->at("state") != "stopping") {
    }
  }
  CHECK(served.client.get("/v1/status").ok());
  CHECK(served.client.post("/v1/services/pipeline/ingest/kill").ok());
}

TEST_CASE("shutdown is answered before the host ends") {
  const TemporaryDirectory directory;
  FakeExecutor executor;
  HostOptions options;
  options.executor = &executor;
  BackgroundHost host(small_config(directory), options);
  host.run_before_start([&](EventLoop& loop) { executor.use(loop); });
  REQUIRE(host.start().ok());
  CHECK(ControlClient(directory / "run/test.sock").post("/v1/shutdown").ok());
  CHECK(host.wait(30s) == HostExit::done);
}

}  // namespace unirun
