#include "host/journal/journal.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "framework/clock.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "tests/host/run_loop_until.h"
#include "tests/host/temporary_directory.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

// A loop, a bus that remembers its warnings, and a journal on top.
struct World {
  explicit World(JournalOptions options)
      : journal(std::make_unique<Journal>(loop, bus, std::move(options))) {
    watch = bus.subscribe(EventKind::warning, [this](const Event& event) {
      warnings.push_back(std::get<Warning>(event.payload).what);
    });
    journal->start();
  }

  Journal::Rows events(EventFilter filter = {}) {
    std::optional<Result<Journal::Rows>> answer;
    journal->events(std::move(filter), [&](Result<Journal::Rows> rows) { answer = rows; });
    run_loop_until(loop, [&] { return answer.has_value(); });
    REQUIRE(answer->ok());
    return **answer;
  }
  nlohmann::json deaths(const std::string& path, std::size_t limit = 10) {
    std::optional<Result<nlohmann::json>> answer;
    journal->deaths(path, limit, [&](Result<nlohmann::json> found) { answer = found; });
    run_loop_until(loop, [&] { return answer.has_value(); });
    REQUIRE(answer->ok());
    return **answer;
  }
  void flush() {
    bool done = false;
    journal->flush([&] { done = true; });
    run_loop_until(loop, [&] { return done; });
  }
  [[nodiscard]] bool warned_of(const std::string& words) const {
    for (const std::string& warning : warnings) {
      if (warning.find(words) != std::string::npos) return true;
    }
    return false;
  }

  SystemClock clock;
  EventLoop loop{clock};
  EventBus bus{clock};
  std::vector<std::string> warnings;
  Subscription watch;
  std::unique_ptr<Journal> journal;
};

DeathRecord death(std::uint64_t sequence, const std::string& path, int exit_code) {
  DeathRecord record;
  record.sequence = sequence;
  record.path = path;
  record.reason = ExitReason::of(ExitKind::exit_code);
  record.reason.exit_code = exit_code;
  return record;
}

// Files of this process cannot grow beyond `bytes` meanwhile: what a full disk does.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit small{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

}  // namespace

TEST_CASE("the journal gives back what was published, newest last, and filters") {
  const TemporaryDirectory directory;
  World world({.file = directory / "journal.sqlite"});
  world.bus.publish("a", ServiceStatusText{RunId{1}, "one"});
  world.bus.publish("a/b", ServiceCompleted{});
  world.bus.publish("ab", ServiceCompleted{});

  const auto all = world.events();
  REQUIRE(all.size() == 3);
  CHECK(all[0]["event"] == "service_status_text");
  CHECK(all[0]["text"] == "one");
  CHECK(all[2]["sequence"] == world.bus.last_sequence());

  CHECK(world.events({.path = "a"}).size() == 2);
  CHECK(world.events({.kinds = {"service_completed"}}).size() == 2);
  CHECK(world.events({.since = all[1]["sequence"]}).size() == 1);
  const auto latest = world.events({.limit = 1});
  REQUIRE(latest.size() == 1);
  CHECK(latest[0]["path"] == "ab");
}

TEST_CASE("sequence, history and causes go on where an earlier host ended") {
  const TemporaryDirectory directory;
  std::uint64_t last = 0;
  {
    World world({.file = directory / "journal.sqlite"});
    world.bus.publish("a", ServiceCompleted{});
    world.journal->record(death(1, "a", 3));
    world.journal->record(death(2, "a", 3));
    last = world.bus.last_sequence();
  }
  World world({.file = directory / "journal.sqlite"});
  world.bus.publish("b", ServiceCompleted{});
  CHECK(world.bus.last_sequence() == last + 1);
  CHECK(world.events().size() == 2);
  world.journal->record(death(3, "a", 3));
  const auto found = world.deaths("a");
  CHECK(found["deaths"].size() == 3);
  CHECK(found["deaths"][0]["sequence"] == 3);
  REQUIRE(found["causes"].size() == 1);
  CHECK(found["causes"][0]["count"] == 3);
  CHECK(world.warnings.empty());
}

TEST_CASE("a record that is completed later is counted once") {
  const TemporaryDirectory directory;
  World world({.file = directory / "journal.sqlite"});
  DeathRecord record = death(7, "a", 3);
  world.journal->record(record);
  world.flush();
  record.decision = "restarted";
  world.journal->record(record);
  const auto found = world.deaths("a");
  REQUIRE(found["deaths"].size() == 1);
  CHECK(found["deaths"][0]["decision"] == "restarted");
  CHECK(found["causes"][0]["count"] == 1);
}

TEST_CASE("what is no database is moved aside, with a warning, and a new one is begun") {
  const TemporaryDirectory directory;
  std::ofstream(directory / "journal.sqlite") << std::string(10'000, 'x');
  World world({.file = directory / "journal.sqlite"});
  world.bus.publish("a", ServiceCompleted{});
  CHECK(world.events({.kinds = {"service_completed"}}).size() == 1);
  CHECK(world.warned_of("was damaged"));
  CHECK(std::filesystem::exists(directory / "journal.sqlite.damaged"));
  World reader({.file = directory / "journal.sqlite"});
  CHECK(reader.events({.kinds = {"service_completed"}}).size() == 1);
}

TEST_CASE("a damaged page is found when it is read, and recording goes on") {
  const TemporaryDirectory directory;
  const std::string file = directory / "journal.sqlite";
  {
    World world({.file = file});
    for (int i = 0; i < 2000; ++i) world.bus.publish("a", ServiceStatusText{RunId{1}, "filler"});
  }
  {
    std::fstream damage(file, std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(4096);
    damage << std::string(200'000, '\xff');
  }
  World world({.file = file});
  for (int i = 0; i < 50; ++i) world.bus.publish("b", ServiceCompleted{});
  CHECK(world.events({.path = "b"}).size() == 50);
  CHECK(world.warned_of("was damaged"));
}

TEST_CASE("a journal of a later version is left as it is") {
  const TemporaryDirectory directory;
  const std::string file = directory / "journal.sqlite";
  { World world({.file = file}); }
  const std::string command = "sqlite3 " + file + " 'PRAGMA user_version = 99'";
  if (std::system("command -v sqlite3 >/dev/null") != 0) {
    MESSAGE("skipped: there is no sqlite3 program to write a later version with");
    return;
  }
  REQUIRE(std::system(command.c_str()) == 0);
  const auto size = std::filesystem::file_size(file);
  World world({.file = file});
  world.bus.publish("a", ServiceCompleted{});
  CHECK(world.events({.kinds = {"service_completed"}}).size() == 1);
  CHECK(world.warned_of("later unirun"));
  CHECK(std::filesystem::file_size(file) == size);
}

TEST_CASE("a full disk makes the journal go on in memory, and the file gets it all afterwards") {
  const TemporaryDirectory directory;
  const std::string file = directory / "journal.sqlite";
  World world({.file = file, .retry = 20ms});
  world.bus.publish("before", ServiceCompleted{});
  world.flush();
  {
    const SmallFiles full(1);
    for (int i = 0; i < 100; ++i) world.bus.publish("during", ServiceCompleted{});
    world.flush();
    run_loop_until(world.loop, [&] { return world.warned_of("in memory"); });
    CHECK(world.events({.path = "before"}).size() == 1);
    CHECK(world.events({.path = "during"}).size() == 100);
  }
  run_loop_until(world.loop, [&] { return world.warned_of("is written to"); });
  World reader({.file = file});
  CHECK(reader.events({.path = "during"}).size() == 100);
  CHECK(reader.events({.path = "before"}).size() == 1);
}

TEST_CASE("a directory that is not there costs a warning, not the events") {
  const TemporaryDirectory directory;
  World world({.file = directory / "nowhere/journal.sqlite"});
  world.bus.publish("a", ServiceCompleted{});
  CHECK(world.events({.path = "a"}).size() == 1);
  CHECK(world.warned_of("in memory"));
}

TEST_CASE("a file that is removed meanwhile is begun anew") {
  const TemporaryDirectory directory;
  const std::string file = directory / "journal.sqlite";
  World world({.file = file});
  world.bus.publish("a", ServiceCompleted{});
  world.flush();
  std::filesystem::remove(file);
  world.bus.publish("b", ServiceCompleted{});
  world.flush();
  run_loop_until(world.loop, [&] { return world.warned_of("was removed"); });
  World reader({.file = file});
  CHECK(reader.events({.path = "b"}).size() == 1);
}

TEST_CASE("a reader in another connection sees whole batches while the journal writes") {
  const TemporaryDirectory directory;
  const std::string file = directory / "journal.sqlite";
  World world({.file = file, .gather = 1ms});
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0}, failures{0};
  std::thread reader([&] {
    while (!stop) {
      JournalDatabase database;
      const bool opened = database.open(file).ok();
      const auto rows = opened ? database.events({.limit = 5}) : Result<Journal::Rows>(Error{});
      if (!rows) ++failures;
      ++reads;
    }
  });
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) world.bus.publish("a", ServiceCompleted{});
    world.flush();
  }
  run_loop_until(world.loop, [&] { return reads > 5; });
  stop = true;
  reader.join();
  CHECK(failures == 0);
  CHECK(world.events({.limit = 10'000, .path = "a"}).size() == 1000);
}

TEST_CASE("the oldest events go when there are too many, causes stay counted") {
  const TemporaryDirectory directory;
  World world({.file = directory / "journal.sqlite",
               .limits = {.max_events = 500, .max_deaths = 10, .max_bytes = 64 << 20}});
  for (std::uint64_t round = 0; round < 8; ++round) {
    for (int i = 0; i < 400; ++i) world.bus.publish("a", ServiceCompleted{});
    for (std::uint64_t i = 0; i < 5; ++i) world.journal->record(death(round * 400 + i + 1, "a", 1));
    world.flush();
  }
  const auto events = world.events({.limit = 10'000});
  CHECK(events.size() >= 500);
  CHECK(events.size() <= 2000);  // It is trimmed every thousand.
  const auto found = world.deaths("a", 1000);
  CHECK(found["deaths"].size() <= 30);
  CHECK(found["causes"][0]["count"] == 40);
}

TEST_CASE("a queue that is full drops and says so, and never waits") {
  World world({.queue = 100});
  for (int i = 0; i < 10'000; ++i) world.bus.publish("a", ServiceCompleted{});
  world.flush();
  run_loop_until(world.loop, [&] { return world.warned_of("fell behind"); });
  CHECK(world.events({.limit = 10'000}).size() < 10'000);
}

TEST_CASE("records of deaths that do not fit are counted and said") {
  World world({.queue = 100});
  for (std::uint64_t i = 1; i <= 10'000; ++i) world.journal->record(death(i, "a", 1));
  world.flush();
  run_loop_until(world.loop, [&] { return world.warned_of(" records of deaths are not in it"); });
}

TEST_CASE("a record that waits is replaced by one of the same death, and takes no room again") {
  World world({.queue = 100});
  for (int i = 0; i < 10'000; ++i) world.journal->record(death(1, "a", 1));
  world.journal->record(death(2, "a", 1));
  world.flush();
  CHECK(world.deaths("a", 10'000)["deaths"].size() == 2);
  CHECK_FALSE(world.warned_of("fell behind"));
}

}  // namespace unirun
