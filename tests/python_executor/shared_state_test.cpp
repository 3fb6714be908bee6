// What interpreters and processes share: exact under concurrency, and whole whoever is killed.

#include "executors/python/state/shared_state.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/values/value_cbor.h"
#include "framework/clock.h"
#include "framework/random.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

class HandClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const override { return now_; }
  [[nodiscard]] WallTime wall_now() const override { return {}; }
  void pass(Duration time) { now_ += time; }

 private:
  Instant now_{};
};

SharedState fresh(SharedStateOptions options = {}) { return SharedState::create(options).value(); }

template <class T>
Errc code_of(const Result<T>& result) {
  return result.ok() ? Errc::ok : result.error().code;
}

// --- Values

const Value everything = Object{
    {"null", nullptr},
    {"flags", Array{true, false}},
    {"numbers",
     Array{0, 23, 24, 255, 256, 65'536, -1, -24, -25, -257, 0.5, -0.0,
           std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min(),
           std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<double>::infinity()}},
    {"text", "caf\xc3\xa9"},
    {"bytes", Bytes{std::string("\0\xff", 2)}},
    {"nothing", Array{Array{}, Object{}, "", Bytes{}}}};

TEST_CASE("A14: a value comes back from its bytes as it was, and others can read them") {
  const std::string bytes = to_cbor(everything).value();
  CHECK(from_cbor(bytes).value() == everything);
  const auto json = nlohmann::json::from_cbor(bytes);
  CHECK(json["text"] == "caf\xc3\xa9");
  CHECK(json["numbers"][14] == std::numeric_limits<std::uint64_t>::max());
  CHECK(json["numbers"][13] == std::numeric_limits<std::int64_t>::min());
  CHECK(json["bytes"].is_binary());
  const Value back =
      from_cbor(to_cbor(Value(std::numeric_limits<double>::quiet_NaN())).value()).value();
  CHECK(back.as_double() != back.as_double());
}

TEST_CASE("A14: bytes that are cut short or are nothing of ours give an error, whatever they are") {
  const std::string bytes = to_cbor(everything).value();
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK(code_of(from_cbor(std::string_view(bytes).substr(0, length))) == Errc::conversion);
  CHECK(code_of(from_cbor(bytes + '\0')) == Errc::conversion);
  CHECK(code_of(from_cbor("\x9b\xff\xff\xff\xff\xff\xff\xff\xff")) == Errc::conversion);
  CHECK(code_of(from_cbor(std::string(100'000, '\x81'))) == Errc::conversion);
  CHECK(code_of(from_cbor("\x3b\xff\xff\xff\xff\xff\xff\xff\xff")) == Errc::conversion);

  Random random(14);
  for (int i = 0; i < 20'000; ++i) {  // No crash, no hang: what comes of it is not the question.
    std::string wrong = bytes;
    for (int changes = 0; changes < 3; ++changes)
      wrong[random.below(wrong.size())] = static_cast<char>(random.next());
    (void)from_cbor(wrong);
  }
}

// Some of what others have made of it: bytes changed, taken out, put in and repeated.
std::string distorted(std::string bytes, Random& random) {
  for (std::uint64_t changes = 1 + random.below(4); changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random.below(bytes.size());
    const std::size_t size = 1 + random.below(8);
    switch (random.below(4)) {
      case 0: bytes[at] = static_cast<char>(random.next()); break;
      case 1: bytes.erase(at, size); break;
      case 2: bytes.insert(at, size, static_cast<char>(random.next())); break;
      default: bytes.insert(random.below(bytes.size()), bytes.substr(at, size));
    }
  }
  return bytes;
}

TEST_CASE("A29: nightly: ten minutes of wrong bytes are refused or read, and never worse" *
          doctest::skip()) {
  const char* const asked = std::getenv("UNIRUN_FUZZ_SECONDS");
  const Instant end = SystemClock().now() + std::chrono::seconds(asked ? std::atoi(asked) : 600);
  std::vector<std::string> known{to_cbor(everything).value()};
  Random random(29);
  std::uint64_t rounds = 0;
  while (++rounds % 1024 != 0 || SystemClock().now() < end) {
    const std::string wrong = distorted(known[random.below(known.size())], random);
    const Result<Value> read = from_cbor(wrong);
    if (!read.ok()) {
      REQUIRE(read.error().code == Errc::conversion);
      REQUIRE_FALSE(read.error().message.empty());
      continue;
    }
    const std::string written = to_cbor(*read).value();
    REQUIRE(to_cbor(from_cbor(written).value()).value() == written);
    if (wrong.size() < 4096) known.resize(std::min<std::size_t>(known.size() + 1, 4096), wrong);
  }
  MESSAGE(rounds, " of them, ", known.size(), " could be read");
}

TEST_CASE("A14: what is too deep is refused with its place") {
  Value deep;
  for (std::size_t i = 0; i < max_depth; ++i) deep = Array{std::move(deep)};
  const SharedState state = fresh();
  CHECK(state.set("deep", deep).ok());
  CHECK(state.get("deep").value() == deep);
  CHECK(code_of(state.set("deeper", Array{deep})) == Errc::conversion);
  CHECK(code_of(state.get("deeper")) == Errc::python_exception);
}

// --- The map

TEST_CASE("A14: values are set, found, listed, counted and erased") {
  const SharedState state = fresh();
  CHECK(state.set("user:1", Object{{"name", "Ada"}}).ok());
  CHECK(state.set("user:2", 2).ok());
  CHECK(state.set("", "an empty key is a key").ok());
  CHECK(state.get("user:1").value() == Value(Object{{"name", "Ada"}}));
  CHECK(state.set("user:2", 3).ok());
  CHECK(state.get("user:2").value() == Value(3));
  CHECK(state.size().value() == 3);
  CHECK(state.keys("user:").value() == std::vector<std::string>{"user:1", "user:2"});
  CHECK(state.keys().value().size() == 3);
  CHECK(state.erase("user:1").value());
  CHECK_FALSE(state.erase("user:1").value());

  const auto missing = state.get("user:1");
  CHECK(code_of(missing) == Errc::python_exception);
  CHECK(missing.error().type == "builtins.KeyError");
  CHECK_FALSE(state.find("user:1").value().has_value());
  CHECK(state.clear().ok());
  CHECK(state.size().value() == 0);
}

TEST_CASE("A14: a value expires to the nanosecond, unless it is set anew") {
  HandClock clock;
  const SharedState state =
      SharedState::create({.max_entries = 2, .max_bytes = 1'000, .counters = {}}, clock).value();
  CHECK(state.set("short", 1, {.ttl = 10s}).ok());
  CHECK(state.set("long", 2, {.ttl = Duration::max()}).ok());
  clock.pass(10s - 1ns);
  CHECK(state.get("short").ok());
  CHECK(state.update("short", [](const Value*) { return Value(2); }).ok());  // Expires still.
  CHECK(code_of(state.set("third", 3)) == Errc::memory_limit);
  clock.pass(1ns);
  CHECK(code_of(state.get("short")) == Errc::python_exception);
  CHECK(state.set("third", 3).ok());  // What has expired takes no place.
  CHECK(state.size().value() == 2);

  CHECK(state.set("third", 3, {.ttl = 1s}).ok());
  CHECK(state.set("third", 4).ok());
  clock.pass(1'000'000s);
  CHECK(state.get("third").value() == Value(4));
  CHECK(state.set("third", 5, {.ttl = 0s}).ok());
  CHECK(state.keys().value() == std::vector<std::string>{"long"});
}

TEST_CASE("A14: caps on entries and bytes are exact, and an error names the figures") {
  const SharedState state = fresh({.max_entries = 3, .max_bytes = 100, .counters = {}});
  for (const char* key : {"a", "b", "c"}) CHECK(state.set(key, 0).ok());
  const auto fourth = state.set("d", 0);
  CHECK(code_of(fourth) == Errc::memory_limit);
  CHECK(fourth.error().message == "no room for 1 bytes at 'd': 3 of 3 entries, 6 of 100 bytes");
  CHECK(state.set("a", 1).ok());  // Not one more.

  // With its key and a head of two bytes; four are the others'.
  CHECK(code_of(state.set("a", Bytes{std::string(94, 'x')})) == Errc::memory_limit);
  CHECK(state.get("a").value() == Value(1));
  CHECK(state.set("a", Bytes{std::string(93, 'x')}).ok());
  CHECK(state.erase("b").value());
  CHECK(state.erase("c").value());
  CHECK(state.set("a", Bytes{std::string(97, 'x')}).ok());
  CHECK(code_of(state.set("b", 0)) == Errc::memory_limit);
  CHECK(state.set("a", 0).ok());
  CHECK(state.set("b", 0).ok());
}

TEST_CASE("A14: eight threads fill a state to its caps and empty it, and nothing is left over") {
  const SharedState state = fresh({.max_entries = 100, .max_bytes = 10'000, .counters = {}});
  std::vector<std::thread> threads;
  std::atomic<int> refused{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<std::uint64_t>(t));
      for (int i = 0; i < 5'000; ++i) {
        const std::string key = std::to_string(random.below(150));
        if (random.chance(0.3)) {
          (void)state.erase(key);
        } else if (!state.set(key, Bytes{std::string(random.below(200), 'x')})) {
          ++refused;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(refused > 0);
  CHECK(state.size().value() <= 100);
  const std::vector<std::string> left = state.keys().value();
  for (const std::string& key : left) CHECK(state.erase(key).value());
  CHECK(state.set("all", Bytes{std::string(9'990, 'x')}).ok());
}

TEST_CASE("A14: update sees what is there, stores what comes of it, and passes an error on") {
  const SharedState state = fresh();
  const auto add_one = [](const Value* current) -> Result<Value> {
    return Value(current == nullptr ? 1 : current->as_int64() + 1);
  };
  CHECK(state.update("n", add_one).value() == Value(1));
  CHECK(state.update("n", add_one).value() == Value(2));
  const auto failed = state.update("n", [](const Value*) -> Result<Value> {
    return Error{.code = Errc::python_exception, .message = "no"};
  });
  CHECK(failed.error().message == "no");
  CHECK(state.get("n").value() == Value(2));
  // From within it may use the state, and even the same key: then it is called again.
  int calls = 0;
  CHECK(state
            .update("n",
                    [&](const Value* current) -> Result<Value> {
                      if (++calls == 1) CHECK(state.set("n", 10).ok());
                      return Value(current->as_int64() + 1);
                    })
            .value() == Value(11));
  CHECK(calls == 2);
}

TEST_CASE("A14: updates and exchanges of eight threads lose nothing") {
  const SharedState state = fresh();
  CHECK(state.set("exchanged", 0).ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        (void)state.update("updated", [](const Value* current) -> Result<Value> {
          return Value(current == nullptr ? 1 : current->as_int64() + 1);
        });
        for (;;) {
          const Value seen = state.get("exchanged").value();
          if (*state.compare_exchange("exchanged", seen, seen.as_int64() + 1)) break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(state.get("updated").value() == Value(4'000));
  CHECK(state.get("exchanged").value() == Value(4'000));
  CHECK_FALSE(*state.compare_exchange("none", nullptr, 1));
  CHECK_FALSE(*state.compare_exchange("updated", 1, 2));
}

TEST_CASE("A14: an update that writes its own key ends, and says so") {
  const SharedState state = fresh();
  int calls = 0;
  const auto updated = state.update("own", [&](const Value*) -> Result<Value> {
    REQUIRE(state.set("own", ++calls).ok());
    return Value("never");
  });
  REQUIRE_FALSE(updated.ok());
  CHECK(updated.error().code == Errc::overloaded);
  CHECK(updated.error().message.starts_with("'own' was written meanwhile, 10000 times in a row"));
  CHECK(state.get("own").value() == Value(calls));
}

// --- Counters

TEST_CASE("A14: counters and values are separate names, and mixing them is an error") {
  const SharedState state = fresh();
  CHECK(state.increment("hits").value() == 1);
  CHECK(state.set("text", "x").ok());
  CHECK(code_of(state.get("hits")) == Errc::conversion);
  CHECK(code_of(state.set("hits", 1)) == Errc::conversion);
  CHECK(code_of(state.erase("hits")) == Errc::conversion);
  CHECK(code_of(state.update("hits", [](const Value*) { return Value(1); })) == Errc::conversion);
  CHECK(code_of(state.compare_exchange("hits", 1, 2)) == Errc::conversion);
  CHECK(code_of(state.increment("text")) == Errc::conversion);
  CHECK(code_of(state.counter("text")) == Errc::conversion);
  CHECK(code_of(state.increment(std::string(70'000, 'x'))) == Errc::conversion);
  CHECK(state.keys().value() == std::vector<std::string>{"text"});
  CHECK(state.counters() == std::vector<std::string>{"hits"});
  CHECK(state.erase("text").value());
  CHECK(state.increment("text").value() == 1);  // The name is free.
}

TEST_CASE("A14: a counter goes up and down, wraps around, and outlives clear and the state") {
  std::optional<SharedState> state = fresh();
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(state->increment("n", 5).value() == 5);
  CHECK(state->decrement("n", 7).value() == -2);
  CHECK(state->increment("top", most).value() == most);
  CHECK(state->increment("top").value() == least);
  CHECK(state->decrement("top").value() == most);
  CHECK(state->decrement("bottom", least).value() == least);

  const Counter counter = state->counter("n").value();
  CHECK(counter.value() == -2);
  CHECK(counter.exchange(10) == -2);
  CHECK(state->increment("n").value() == 11);
  CHECK(state->clear().ok());
  CHECK(counter.value() == 0);
  CHECK(state->increment("n").value() == 1);
  state.reset();
  CHECK(counter.increment() == 2);
}

TEST_CASE("A14: counters have a cap, and the next one is told the figures") {
  const SharedState state = fresh({.counters = {.max_counters = 3, .max_name_bytes = 100}});
  for (const char* name : {"a", "b", "c"}) CHECK(state.increment(name).value() == 1);
  const auto fourth = state.increment("d");
  CHECK(code_of(fourth) == Errc::memory_limit);
  CHECK(fourth.error().message ==
        "no room for counter 'd': 3 of 3 counters, 3 of 100 bytes of names");
  CHECK(state.increment("a").value() == 2);
  const SharedState wordy = fresh({.counters = {.max_counters = 3, .max_name_bytes = 100}});
  CHECK(wordy.increment(std::string(60, 'x')).value() == 1);
  CHECK(code_of(wordy.increment(std::string(60, 'y'))) == Errc::memory_limit);
  CHECK(wordy.counters().size() == 1);
}

constexpr int fresh_keys = 20'000;

TEST_CASE("A14: eight threads increment 20,000 fresh keys once each: every one is eight") {
  const SharedState state = fresh();
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      while (!go) std::this_thread::yield();
      for (int i = 0; i < fresh_keys; ++i) (void)state.increment("key " + std::to_string(i));
    });
  }
  go = true;
  for (std::thread& thread : threads) thread.join();
  int wrong = 0;
  for (int i = 0; i < fresh_keys; ++i)
    wrong += state.counter("key " + std::to_string(i)).value().value() != 8;
  CHECK(wrong == 0);
  CHECK(state.counters().size() == fresh_keys);
}

// --- Processes: each with a socket, on which it asks and a thread of this process answers.

bool write_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool send_frame(int socket, const std::string& frame) {
  const auto size = static_cast<std::uint32_t>(frame.size());
  return write_all(socket, std::string(reinterpret_cast<const char*>(&size), sizeof size) + frame);
}

std::optional<std::string> receive_frame(int socket) {
  std::uint32_t size = 0;
  if (::recv(socket, &size, sizeof size, MSG_WAITALL) != sizeof size) return std::nullopt;
  std::string frame(size, '\0');
  if (size > 0 && ::recv(socket, frame.data(), size, MSG_WAITALL) != static_cast<ssize_t>(size))
    return std::nullopt;
  return frame;
}

class WorkerProcess {
 public:
  // Forks, which must not be done while there are other threads; `body` gets a state of its own.
  template <class Body>
  WorkerProcess(const SharedState& owner, Body body) {
    std::array<int, 2> sockets{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) == 0);
    process_ = ::fork();
    if (process_ == 0) {
      ::close(sockets[0]);
      const int socket = sockets[1];
      const Result<SharedState> mine = SharedState::attach(
          owner.counters_descriptor(), [socket](const std::string& request) -> Result<std::string> {
            std::optional<std::string> answer;
            if (send_frame(socket, request)) answer = receive_frame(socket);
            if (!answer) return Error{.code = Errc::worker_lost, .message = "the owner has gone"};
            return std::move(*answer);
          });
      ::_exit(mine.ok() && body(*mine) ? 0 : 1);
    }
    ::close(sockets[1]);
    socket_ = sockets[0];
  }
  WorkerProcess(WorkerProcess&& other) noexcept
      : process_(std::exchange(other.process_, -1)), socket_(std::exchange(other.socket_, -1)) {}
  ~WorkerProcess() {
    if (socket_ >= 0) ::close(socket_);
  }

  // Until it closes its end.
  void serve(const SharedState& owner, std::atomic<int>& served) const {
    while (const auto request = receive_frame(socket_)) {
      const std::string answer = owner.serve(*request);
      ++served;
      if (!send_frame(socket_, answer)) return;
    }
  }

  void kill() const { ::kill(process_, SIGKILL); }
  [[nodiscard]] int status() const {
    int status = 0;
    ::waitpid(process_, &status, 0);
    return status;
  }

 private:
  pid_t process_ = -1;
  int socket_ = -1;
};

TEST_CASE("A14: eight processes increment 20,000 fresh keys once each: every one is eight") {
  const SharedState state = fresh();
  std::vector<WorkerProcess> workers;
  for (int p = 0; p < 8; ++p) {
    workers.emplace_back(state, [](const SharedState& mine) {
      for (int i = 0; i < fresh_keys; ++i) {
        if (!mine.increment("key " + std::to_string(i))) return false;
      }
      return true;
    });
  }
  std::atomic<int> served{0};
  std::vector<std::thread> threads;
  for (const WorkerProcess& worker : workers)
    threads.emplace_back([&] { worker.serve(state, served); });
  for (std::thread& thread : threads) thread.join();
  for (const WorkerProcess& worker : workers) CHECK(worker.status() == 0);
  int wrong = 0;
  for (int i = 0; i < fresh_keys; ++i)
    wrong += state.counter("key " + std::to_string(i)).value().value() != 8;
  CHECK(wrong == 0);
}

TEST_CASE("A14: eight processes make 20,000 fresh counters on the page with nobody's help") {
  const CounterTable table = CounterTable::create({}).value();
  std::vector<pid_t> processes;
  for (int p = 0; p < 8; ++p) {
    const pid_t process = ::fork();
    if (process == 0) {
      const Result<CounterTable> mine = CounterTable::attach(table.descriptor());
      if (!mine) ::_exit(1);
      for (int i = 0; i < fresh_keys; ++i) {
        const auto made = mine->find_or_make("key " + std::to_string(i));
        if (!made) ::_exit(2);
        Counter::add(**made, 1);
      }
      ::_exit(0);
    }
    processes.push_back(process);
  }
  for (const pid_t process : processes) {
    int status = 0;
    ::waitpid(process, &status, 0);
    CHECK(status == 0);
  }
  CHECK(table.size() == fresh_keys);
  int wrong = 0;
  for (int i = 0; i < fresh_keys; ++i) wrong += table.find("key " + std::to_string(i))->load() != 8;
  CHECK(wrong == 0);
}

TEST_CASE("A14: a worker process has the whole map: what it sets the owner sees, and the reverse") {
  const SharedState state = fresh({.max_entries = 4, .max_bytes = 1'000, .counters = {}});
  CHECK(state.set("owner", everything).ok());
  const WorkerProcess worker(state, [](const SharedState& mine) {
    const auto add_one = [](const Value* current) -> Result<Value> {
      return Value(current == nullptr ? 1 : current->as_int64() + 1);
    };
    return mine.get("owner").value() == everything && mine.set("worker", 7).ok() &&
           mine.update("updated", add_one).value() == Value(1) &&
           mine.update("updated", add_one).value() == Value(2) &&
           *mine.compare_exchange("worker", 7, 8) && !*mine.compare_exchange("worker", 7, 9) &&
           mine.increment("count", 3).value() == 3 && mine.size().value() == 3 &&
           mine.keys("w").value() == std::vector<std::string>{"worker"} &&
           mine.get("none").error().type == "builtins.KeyError" &&
           code_of(mine.get("count")) == Errc::conversion &&
           code_of(mine.increment("worker")) == Errc::conversion &&
           code_of(mine.set("big", Bytes{std::string(1'000, 'x')})) == Errc::memory_limit &&
           mine.set("brief", 1, {.ttl = 0s}).ok() && !mine.find("brief").value().has_value() &&
           mine.erase("owner").value() && !mine.erase("owner").value();
  });
  std::atomic<int> served{0};
  std::thread serving([&] { worker.serve(state, served); });
  serving.join();
  CHECK(worker.status() == 0);
  CHECK(state.get("worker").value() == Value(8));
  CHECK(state.counter("count").value().value() == 3);
  CHECK(code_of(state.get("owner")) == Errc::python_exception);
}

TEST_CASE("A14: requests that are none are answered with an error, and change nothing") {
  const SharedState state = fresh();
  CHECK(state.set("a", 1).ok());
  for (const Value& wrong : {Value(), Value(Array{}), Value(Array{0}), Value(Array{99, Bytes{"a"}}),
                             Value(Array{256, Bytes{"a"}}), Value(Array{1, Bytes{"a"}}),
                             Value(Array{1, Bytes{"a"}, 5})}) {
    const Value answer = from_cbor(state.serve(to_cbor(wrong).value())).value();
    CHECK(answer.as_array().at(0) == Value(false));
  }
  CHECK(from_cbor(state.serve("\xff")).value().as_array().at(0) == Value(false));
  CHECK(state.get("a").value() == Value(1));
}

TEST_CASE("A14: 200 writers that are killed at any moment leave map and counters readable") {
  const SharedState state = fresh();
  Random random(200);
  for (int round = 0; round < 200; ++round) {
    const WorkerProcess worker(state, [](const SharedState& mine) {
      for (int i = 0;; ++i) {
        const std::string key = std::to_string(i % 50);
        const std::string text(static_cast<std::size_t>(i % 7) * 3'000,
                               static_cast<char>('a' + i % 26));
        // Twice the same: a reader can tell whether it is whole.
        if (!mine.set("pair " + key, Array{Bytes{text}, Bytes{text}})) return false;
        if (!mine.update("sum", [](const Value* sum) -> Result<Value> {
              return Value(sum == nullptr ? 1 : sum->as_int64() + 1);
            }))
          return false;
        if (!mine.increment("count " + key)) return false;
      }
    });
    std::atomic<int> served{0};
    std::atomic<bool> over{false};
    std::thread serving([&] {
      worker.serve(state, served);
      over = true;
    });
    for (const auto enough = static_cast<int>(random.below(40)); served < enough && !over;)
      std::this_thread::yield();
    worker.kill();
    CHECK(WIFSIGNALED(worker.status()));
    serving.join();
    const std::vector<std::string> pairs = state.keys("pair ").value();
    for (const std::string& key : pairs) {
      const Value pair = state.get(key).value();
      REQUIRE(pair.as_array().at(0) == pair.as_array().at(1));
    }
  }
  CHECK(state.get("sum").value().as_int64() > 0);
  CHECK(state.set("after", 1).ok());
  CHECK(state.increment("count after").value() == 1);
}

TEST_CASE("A14: 200 makers of counters that are killed at any moment leave the page whole") {
  const CounterTable table = CounterTable::create({}).value();
  Random random(201);
  for (int round = 0; round < 200; ++round) {
    const std::size_t before = table.size();
    const pid_t process = ::fork();
    if (process == 0) {
      for (int i = 0;; ++i) {
        const auto made = table.find_or_make(std::to_string(round) + " " + std::to_string(i % 200));
        if (!made) ::_exit(1);
        Counter::add(**made, 1);
      }
    }
    for (const std::size_t enough = before + random.below(100); table.size() < enough;)
      std::this_thread::yield();
    ::kill(process, SIGKILL);
    int status = 0;
    ::waitpid(process, &status, 0);
    CHECK(WIFSIGNALED(status));
  }
  const std::vector<std::string> names = table.names();
  CHECK(names.size() <= table.size());
  CHECK(names.size() + 200 >= table.size());  // A place a kill at the most.
  for (const std::string& name : names) CHECK(table.find(name) != nullptr);
  CHECK(table.find_or_make("after").ok());
}

TEST_CASE("A14: a page can neither be cut short by who shares it nor taken for another") {
  const CounterTable table =
      CounterTable::create({.max_counters = 10, .max_name_bytes = 100}).value();
  CHECK(::ftruncate(table.descriptor(), 0) != 0);
  const int nothing = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(code_of(CounterTable::attach(nothing)) == Errc::unsupported);
  ::close(nothing);
  const SharedPage other = SharedPage::create("other", 4'096).value();
  CHECK(code_of(CounterTable::attach(other.descriptor())) == Errc::unsupported);
  CHECK(code_of(CounterTable::attach(-1)) == Errc::unsupported);
}

}  // namespace
}  // namespace unirun::python
