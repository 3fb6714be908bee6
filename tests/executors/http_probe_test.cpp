// HttpProbe against a server that answers what it is told, byte by byte.

#include <csignal>

#include "canned_server.h"
#include "executors/process/http_probe.h"
#include "executors/process/service_probe.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace {

// "" if all is well.
std::string ask(const HttpCheck& check, Duration timeout = 20s) {
  SystemClock clock;
  EventLoop loop(clock);
  const auto probe = HttpProbe::make(loop, check);
  REQUIRE(probe.ok());
  std::optional<std::string> said;
  (*probe)->ask(timeout, [&](std::optional<std::string> failure) {
    said = failure.value_or("");
    loop.stop();
  });
  CHECK_FALSE(said.has_value());  // Never from within ask().
  loop.run();
  REQUIRE(said.has_value());
  // Where it was is the same for all: "http 127.0.0.1:4711: ".
  const auto place = said->find(": ");
  if (!said->empty()) CHECK(said->rfind("http 127.0.0.1:", 0) == 0);
  return said->empty() ? *said : said->substr(place + 2);
}

std::string ask_for(const std::string& answer, Duration timeout = 20s) {
  return ask(CannedServer({answer}).check(), timeout);
}

}  // namespace

TEST_CASE("http: the status decides, whatever comes with it") {
  CHECK(ask_for(answer_of("200 OK")).empty());
  CHECK(ask_for(answer_of("302 Found")).empty());
  CHECK(ask_for(answer_of("204 No Content", "")).empty());
  CHECK(ask_for(answer_of("404 Not Found")) == "GET / answered 404, not 200 to 399");
  CHECK(ask_for(answer_of("503 Service Unavailable")) == "GET / answered 503, not 200 to 399");
  CHECK(ask_for("HTTP/1.1 100 Continue\r\n\r\n" + answer_of("500 Oh")) ==
        "GET / answered 500, not 200 to 399");
  CHECK(ask_for("HTTP/1.0 200 OK\r\n\r\nuntil the end").empty());
  CHECK(
      ask_for("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").empty());
  CHECK(ask_for(answer_of("200 OK", std::string(8 << 20, 'x'))).empty());  // Cut off, and fine.

  const CannedServer server({answer_of("404 Not Found")});
  HttpCheck check = server.check();
  check.status_from = check.status_to = 404;
  CHECK(ask(check).empty());
  check.status_from = check.status_to = 204;
  CHECK(ask(check) == "GET / answered 404, not 204");
}

TEST_CASE("http: what is no answer is told as what it is") {
  CHECK(ask_for("SSH-2.0-OpenSSH_9.2\r\n") == "what answers there does not speak HTTP/1");
  CHECK(ask_for("") == "closed without an answer");
  CHECK(ask_for("HTTP/1.1 200 OK\r\nContent-") == "closed without an answer");
  CHECK(ask_for("HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x')) ==
        "what answers there does not speak HTTP/1");
  HttpCheck nobody;
  {
    nobody.port = CannedServer({""}).check().port;  // Free again.
  }
  CHECK(ask(nobody) == "Connection refused");
}

TEST_CASE("http: silence ends with the timeout, and a head without its end counts") {
  const CannedServer silent({""}, true);
  CHECK(ask(silent.check(), 50ms) == "no answer in 50ms");
  const CannedServer endless({"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nslow"}, true);
  CHECK(ask(endless.check(), 50ms).empty());
  const CannedServer broken({"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\nslow"}, true);
  CHECK(ask(broken.check(), 50ms) == "GET / answered 500, not 200 to 399");
}

TEST_CASE("http: the request is a plain GET with the headers that were given") {
  const CannedServer server({answer_of("200 OK")});
  HttpCheck check = server.check();
  check.path = "/health?full=1";
  check.headers = {{"X-Token", "a b"}, {"host", "example.org"}};
  CHECK(ask(check).empty());
  REQUIRE(server.requests().size() == 1);
  CHECK(server.requests()[0] ==
        "GET /health?full=1 HTTP/1.1\r\nUser-Agent: unirun\r\nConnection: close\r\n"
        "X-Token: a b\r\nhost: example.org\r\n\r\n");
  CHECK(ask(server.check()).empty());
  CHECK(server.requests()[1].find("Host: 127.0.0.1:" + std::to_string(check.port) + "\r\n") !=
        std::string::npos);
}

TEST_CASE("http: a check that no request could hold is refused with the remedy") {
  SystemClock clock;
  EventLoop loop(clock);
  const auto refusal = [&](auto change) {
    HttpCheck check;
    change(check);
    const auto probe = HttpProbe::make(loop, check);
    return probe.ok() ? std::string() : probe.error().message;
  };
  const auto is_told = [](const std::string& message, const char* words) {
    return message.find(words) != std::string::npos;
  };
  const auto of_address = [&](const char* address) {
    return refusal([&](HttpCheck& check) { check.address = address; });
  };
  const auto of_path = [&](const char* path) {
    return refusal([&](HttpCheck& check) { check.path = path; });
  };
  const auto of_header = [&](const char* name, const char* value) {
    return refusal([&](HttpCheck& check) { check.headers[name] = value; });
  };
  CHECK(is_told(of_address("https://127.0.0.1/"), "use exec with curl"));
  CHECK(is_told(of_address("example.org"), "write it in numbers"));
  CHECK(is_told(of_path("health"), "begins with '/'"));
  CHECK(is_told(of_path("/a b"), "has no blanks"));
  CHECK(is_told(of_header("X Y", ""), "no name of a header"));
  CHECK(is_told(of_header("X", "a\r\nb"), "line break"));
  CHECK(of_address("::1").empty());
}

TEST_CASE("http: a service is ready at the first good answer") {
  World world;
  const CannedServer server({answer_of("503 Not yet"), answer_of("200 OK")});
  ServiceSpec spec = command({helper(), "wait"});
  spec.readiness = HttpReadiness{.check = server.check(), .interval = 5ms};
  CHECK(world.launch(spec).state == LaunchOutcome::State::starting);
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  CHECK(server.requests().size() == 2);
  world.executor->kill(world.last);
  REQUIRE(world.wait_for_end());
}

TEST_CASE("http: a service ends after failures in a row, one good answer begins anew") {
  World world;
  const std::string bad = answer_of("500 Oh");
  const CannedServer server({bad, bad, answer_of("200 OK"), bad, bad, bad});
  ServiceSpec spec = command({helper(), "wait"});
  spec.liveness =
      HttpLiveness{.check = server.check(), .interval = 5ms, .timeout = 20s, .max_failures = 3};
  const ExitReason reason = world.end_of(spec);
  CHECK(reason.kind == ExitKind::liveness_timeout);
  CHECK(reason.signal == SIGABRT);
  CHECK(reason.detail.find("GET / answered 500") != std::string::npos);
  CHECK(server.requests().size() == 6);
}

TEST_CASE("a service without a process has no exec probe") {
  SystemClock clock;
  EventLoop loop(clock);
  const auto plan = plan_probe(loop, Liveness{ExecLiveness{{"true"}}}, nullptr);
  REQUIRE_FALSE(plan.ok());
  CHECK(plan.error().message.find("liveness: exec probe: only a service in a process") == 0);
  CHECK_FALSE(plan_probe(loop, Readiness{ExecReadiness{{"true"}}}, nullptr).ok());
  CHECK(plan_probe(loop, Liveness{HeartbeatLiveness{}}, nullptr)->probe == nullptr);
}
