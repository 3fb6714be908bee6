#include "framework/event_bus.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "framework/event_inlet.h"
#include "framework/random.h"
#include "framework/simulated_time.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

struct Fixture {
  SimulatedTime time;
  EventBus bus{time};
  std::vector<Event> seen;

  EventBus::Observer into(std::vector<Event>& events) {
    return [&events](const Event& event) { events.push_back(event); };
  }
  void warn(const std::string& what) { bus.publish("", Warning{what}); }
};

std::string whats(const std::vector<Event>& events) {
  std::string text;
  for (const Event& event : events) {
    const auto* warning = std::get_if<Warning>(&event.payload);
    text += (warning != nullptr ? warning->what : std::string(to_string(event.kind()))) + " ";
  }
  return text;
}

TEST_CASE_FIXTURE(Fixture, "an event reaches those who asked for its kind, in subscription order") {
  std::string order;
  const auto a = bus.subscribe(EventKind::warning, [&](const Event&) { order += 'a'; });
  const auto b = bus.subscribe(EventKinds(EventKind::warning) | EventKind::host_stopped,
                               [&](const Event&) { order += 'b'; });
  const auto c = bus.subscribe(EventKinds::all(), [&](const Event&) { order += 'c'; });
  warn("one");
  bus.publish("", HostStopped{0});
  bus.publish("", HostStopping{"test"});
  CHECK(order == "abcbcc");
}

TEST_CASE_FIXTURE(Fixture, "an event is numbered by one and carries both times of its moment") {
  const auto all = bus.subscribe(EventKinds::all(), into(seen));
  bus.continue_after(41);
  time.advance(3s);
  time.jump_wall_clock(-1h);
  bus.publish("pipeline/ingest", Warning{"late"});
  warn("later");
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].sequence == 42);
  CHECK(seen[1].sequence == 43);
  CHECK(bus.last_sequence() == 43);
  CHECK(seen[0].at == time.now());
  CHECK(seen[0].wall == time.wall_now());
  CHECK(seen[0].path == "pipeline/ingest");
}

TEST_CASE_FIXTURE(Fixture, "what nobody observes takes no number") {
  warn("unheard");
  CHECK(bus.last_sequence() == 0);
  CHECK_FALSE(bus.wants(EventKind::warning));
  {
    const auto only = bus.subscribe(EventKind::warning, into(seen));
    CHECK(bus.wants(EventKind::warning));
    CHECK_FALSE(bus.wants(EventKind::host_started));
    bus.publish("", HostStarted{});
    warn("heard");
  }
  CHECK_FALSE(bus.wants(EventKind::warning));
  CHECK(whats(seen) == "heard ");
  CHECK(bus.last_sequence() == 1);
}

TEST_CASE_FIXTURE(Fixture, "an observer that throws is taken off, and the others still hear") {
  int calls = 0;
  const auto held = std::make_shared<int>();
  const auto bad = bus.subscribe(
      EventKinds::all(),
      [&, held](const Event&) {
        ++calls;
        throw std::runtime_error("no disk");
      },
      "journal");
  const auto good = bus.subscribe(EventKinds::all(), into(seen));
  warn("one");
  warn("two");
  CHECK(calls == 1);
  CHECK(whats(seen) == "one observer \"journal\" was taken off: it threw no disk two ");
  CHECK(held.use_count() == 1);
}

TEST_CASE_FIXTURE(Fixture, "the late end of one who was taken off takes no other with it") {
  for (int round = 0; round < 20; ++round) {  // The next one may well get the same memory.
    Subscription bad = bus.subscribe(EventKinds::all(), [](const Event&) { throw 1; });
    warn("one");
    seen.clear();
    const Subscription next = bus.subscribe(EventKinds::all(), into(seen));
    bad.reset();
    warn("two");
    CHECK(whats(seen) == "two ");
  }
}

TEST_CASE_FIXTURE(Fixture, "when every observer throws, nobody is left and nothing spins") {
  std::vector<Subscription> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(bus.subscribe(EventKinds::all(), [](const Event&) { throw 1; }));
  }
  warn("one");
  CHECK_FALSE(bus.wants(EventKind::warning));
}

TEST_CASE_FIXTURE(Fixture, "an event published by an observer comes after the present one") {
  const auto first = bus.subscribe(EventKind::warning, [&](const Event& event) {
    if (std::get<Warning>(event.payload).what == "outer") warn("inner");
  });
  const auto second = bus.subscribe(EventKind::warning, into(seen));
  warn("outer");
  CHECK(whats(seen) == "outer inner ");
  CHECK(seen[0].sequence + 1 == seen[1].sequence);
}

TEST_CASE_FIXTURE(Fixture, "who subscribes during an event gets the next one") {
  std::vector<Subscription> late;
  const auto first = bus.subscribe(EventKind::warning, [&](const Event&) {
    for (int i = 0; i < 100; ++i) late.push_back(bus.subscribe(EventKind::warning, into(seen)));
  });
  warn("one");
  CHECK(seen.empty());
  warn("two");
  CHECK(seen.size() == 100);
}

TEST_CASE_FIXTURE(Fixture, "who is unsubscribed during an event does not get it any more") {
  Subscription second, self;
  int own_calls = 0;
  const auto held = std::make_shared<int>(7);
  self = bus.subscribe(EventKind::warning, [&, held](const Event&) {
    self.reset();
    second.reset();
    own_calls += *held == 7 ? 1 : 100;  // Still there although it is off.
  });
  second = bus.subscribe(EventKind::warning, into(seen));
  warn("one");
  warn("two");
  CHECK(own_calls == 1);
  CHECK(seen.empty());
  CHECK(held.use_count() == 1);
}

TEST_CASE_FIXTURE(Fixture, "an observer may own the subscription of another") {
  auto inner = std::make_shared<Subscription>(bus.subscribe(EventKinds::all(), into(seen)));
  auto outer = bus.subscribe(EventKinds::all(), [inner](const Event&) {});
  inner.reset();
  outer.reset();  // Dies while the bus removes it, and unsubscribes the other.
  CHECK_FALSE(bus.wants(EventKind::warning));
}

TEST_CASE("subscriptions and queues may outlive their bus") {
  SimulatedTime time;
  Subscription subscription;
  std::shared_ptr<EventQueue> queue;
  {
    EventBus bus(time);
    subscription = bus.subscribe(EventKinds::all(), [](const Event&) {});
    queue = bus.open_queue(EventKinds::all(), 10);
    bus.publish("", Warning{"last words"});
  }
  CHECK(queue->closed());
  CHECK(queue->take(1h).size() == 1);  // What came before the end is still there,
  CHECK(queue->take(1h).empty());      // and then nobody waits.
  subscription.reset();
}

TEST_CASE_FIXTURE(Fixture, "a full queue drops the newest, counts, and tells once until emptied") {
  const auto watcher = bus.subscribe(EventKind::observer_dropped, into(seen));
  const auto queue = bus.open_queue(EventKind::warning, 2, "slow");
  for (const char* what : {"a", "b", "c", "d"}) warn(what);
  CHECK(queue->dropped() == 2);
  REQUIRE(seen.size() == 1);
  CHECK(std::get<ObserverDropped>(seen[0].payload).observer == "slow");
  CHECK(std::get<ObserverDropped>(seen[0].payload).count == 1);

  const EventQueue::Batch batch = queue->take(0s);
  REQUIRE(batch.size() == 2);
  CHECK(std::get<Warning>(batch[0]->payload).what == "a");
  CHECK(std::get<Warning>(batch[1]->payload).what == "b");

  for (const char* what : {"e", "f", "g", "h"}) warn(what);
  CHECK(queue->dropped() == 4);
  REQUIRE(seen.size() == 2);
  CHECK(std::get<ObserverDropped>(seen[1].payload).count == 3);
}

TEST_CASE_FIXTURE(Fixture, "a queue is full, too, when what it holds is large") {
  const auto queue = bus.open_queue(EventKind::warning, 1'000);
  const std::string large(std::size_t{1} << 20, 'x');
  for (int i = 0; i < 5; ++i) bus.publish("", Warning{large});
  CHECK(queue->dropped() == 4);  // 1 MiB and a KiB for each of the thousand: there is room for one.
  warn("small");
  CHECK(queue->take(0s).size() == 2);
  bus.publish("", Warning{std::string(std::size_t{16} << 20, 'x')});  // Alone, one is never lost.
  CHECK(queue->take(0s).size() == 1);
  CHECK(queue->dropped() == 4);
}

TEST_CASE_FIXTURE(Fixture, "queues share one copy of an event with each other") {
  const auto one = bus.open_queue(EventKinds::all(), 10);
  const auto two = bus.open_queue(EventKinds::all(), 10);
  const auto here = bus.subscribe(EventKinds::all(), into(seen));
  warn("shared");
  CHECK(one->take(0s).at(0) == two->take(0s).at(0));
  CHECK(whats(seen) == "shared ");
}

TEST_CASE_FIXTURE(Fixture, "a closed or forgotten queue costs nothing after the next event") {
  auto queue = bus.open_queue(EventKinds::all(), 10);
  SUBCASE("closed") { queue->close(); }
  SUBCASE("forgotten") { queue.reset(); }
  CHECK(bus.wants(EventKind::warning));
  warn("nobody");
  CHECK_FALSE(bus.wants(EventKind::warning));
}

TEST_CASE_FIXTURE(Fixture, "another thread takes every event that fitted, in order") {
  const std::uint64_t total = 100'000;
  const auto queue = bus.open_queue(EventKind::warning, 1'000);
  std::uint64_t taken = 0;
  bool in_order = true;
  std::thread taker([&] {
    for (std::uint64_t last = 0; !queue->closed();) {
      for (const auto& event : queue->take(1h)) {
        in_order = in_order && event->sequence > last;
        last = event->sequence;
        ++taken;
      }
    }
    taken += queue->take(1h).size();
  });
  for (std::uint64_t i = 0; i < total; ++i) warn("x");
  queue->close();
  taker.join();
  CHECK(in_order);
  CHECK(taken + queue->dropped() == total);
  CHECK(taken > 0);
}

TEST_CASE_FIXTURE(Fixture, "taking from an empty queue waits its time and no longer") {
  const auto queue = bus.open_queue(EventKinds::all(), 10);
  const SystemClock clock;
  const Instant begin = clock.now();
  CHECK(queue->take(20ms).empty());
  CHECK(clock.now() - begin >= 20ms);
}

TEST_CASE_FIXTURE(Fixture, "random subscribing, unsubscribing and publishing keeps the rules") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    EventBus other(time);
    std::vector<Subscription> subscriptions(8);
    std::vector<bool> on(8, false);
    std::uint64_t heard = 0, expected = 0, depth = 0;
    const auto act = [&](auto&& again) -> void {
      const std::size_t i = random.below(8);
      if (on[i]) {
        subscriptions[i].reset();
        on[i] = false;
      } else {
        subscriptions[i] = other.subscribe(EventKind::warning, [&, i](const Event&) {
          ++heard;
          CHECK(on[i]);  // Nobody who is off is called.
          if (depth < 3 && random.chance(0.3)) {
            ++depth;
            again(again);
            --depth;
          }
        });
        on[i] = true;
      }
    };
    for (int step = 0; step < 100; ++step) {
      act(act);
      if (other.wants(EventKind::warning)) ++expected;
      other.publish("", Warning{"x"});
      REQUIRE(other.last_sequence() == expected);
    }
    CHECK(heard > 0);
  }
}

TEST_CASE("an inlet carries the events of four threads, each thread's in its order") {
  SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  EventInlet inlet(bus, loop);
  constexpr int threads = 4, events = 20'000;
  std::vector<std::int64_t> next(threads, 0);
  bool in_order = true;
  int arrived = 0;
  std::uint64_t last_sequence = 0;
  const auto observer = bus.subscribe(EventKind::service_log, [&](const Event& event) {
    const auto& log = std::get<ServiceLog>(event.payload);
    in_order = in_order && log.line == next[static_cast<std::size_t>(log.run)]++ &&
               event.sequence == ++last_sequence && loop.in_loop_thread();
    if (++arrived == threads * events) loop.stop();
  });
  std::vector<std::thread> publishers;
  for (int t = 0; t < threads; ++t) {
    publishers.emplace_back([&, t] {
      for (int i = 0; i < events; ++i) {
        while (!inlet.publish("a/b", ServiceLog{RunId(t), "INFO", "x", "y", "z", i, {}})) {
          std::this_thread::yield();
        }
      }
    });
  }
  loop.run();
  for (auto& publisher : publishers) publisher.join();
  CHECK(arrived == threads * events);
  CHECK(in_order);
}

TEST_CASE("a full inlet drops, and says how many, and what it holds at its end still arrives") {
  SystemClock clock;
  EventLoop loop(clock);
  EventBus bus(clock);
  std::vector<Event> seen;
  const auto all = bus.subscribe(EventKinds::all(), [&](const Event& e) { seen.push_back(e); });
  {
    EventInlet inlet(bus, loop, 2, "threads");
    CHECK(inlet.publish("", Warning{"a"}));
    CHECK(inlet.publish("", Warning{"b"}));
    CHECK_FALSE(inlet.publish("", Warning{"c"}));
    loop.run_ready();
    CHECK(whats(seen) ==
          "a b inlet \"threads\" was full: 1 events from other threads were dropped ");
    seen.clear();
    CHECK(inlet.publish("", Warning{"d"}));
  }
  CHECK(whats(seen) == "d ");
  loop.run_ready();  // The wake that was on its way finds nobody.
  CHECK(whats(seen) == "d ");
}

// ---- Past a loop that stands still ----

TEST_CASE_FIXTURE(Fixture, "a blocked loop can be told of by another thread, in the one sequence") {
  const auto all = bus.subscribe(EventKinds::all(), into(seen));
  const auto queue = bus.open_queue(EventKinds::all(), 10);
  warn("before");
  bool published = false;
  std::thread watchdog([&] {
    published = bus.publish_past_loop("tree/slow", LoopBlocked{RunId{1}, 2s, "here"});
  });
  watchdog.join();  // As long as this thread stands here the loop is blocked.
  REQUIRE(published);
  const EventQueue::Batch batch = queue->take(0s);
  REQUIRE(batch.size() == 2);
  CHECK(batch[1]->kind() == EventKind::loop_blocked);
  CHECK(batch[1]->sequence == 2);
  CHECK(describe(*batch[1]) == "has kept the loop for 2 s, and still does");
  CHECK(whats(seen) == "before ");

  SUBCASE("callbacks hear it before the next event") {
    warn("after");
    CHECK(whats(seen) == "before loop_blocked after ");
    CHECK(seen[1].sequence == 2);
    CHECK(seen[2].sequence == 3);
    CHECK(queue->take(0s).size() == 1);
  }
  SUBCASE("or when they are told to") {
    bus.tell_postponed();
    bus.tell_postponed();
    CHECK(whats(seen) == "before loop_blocked ");
    CHECK(queue->take(0s).empty());
  }
}

TEST_CASE_FIXTURE(Fixture, "nobody gets past a loop that is telling an event itself") {
  bool published = true;
  const auto blocking = bus.subscribe(EventKind::warning, [&](const Event&) {
    std::thread watchdog([&] { published = bus.publish_past_loop("", LoopBlocked{}); });
    watchdog.join();
  });
  const auto queue = bus.open_queue(EventKind::loop_blocked, 10);
  warn("one");
  CHECK_FALSE(published);
  CHECK(queue->take(0s).empty());
}

TEST_CASE_FIXTURE(Fixture, "two threads publish and observers come and go, and no number is lost") {
  const auto queue = bus.open_queue(EventKinds::all(), 100'000);
  std::atomic<bool> ends{false};
  std::thread watchdog([&] {
    while (!ends) (void)bus.publish_past_loop("", LoopBlocked{});
  });
  for (int i = 0; i < 2'000; ++i) {
    const auto brief = bus.subscribe(EventKinds::all(), [&](const Event&) {});
    warn("x");
  }
  ends = true;
  watchdog.join();
  std::uint64_t last = 0;
  bool in_order = true;
  for (const auto& event : queue->take(0s)) in_order = in_order && event->sequence == ++last;
  CHECK(in_order);
  CHECK(last == bus.last_sequence() - queue->dropped());
}

}  // namespace
}  // namespace unirun
