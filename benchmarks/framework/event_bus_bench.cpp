// What an event costs: to nobody, to observers on the loop, and from another thread. Prints one
// JSON object a line: {"metric", "value", "unit"}.
//
// usage: event_bus_bench [events of a burst, default 1000000]

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "framework/clock.h"
#include "framework/doorbell.h"
#include "framework/event_bus.h"
#include "framework/event_inlet.h"
#include "framework/event_loop.h"

namespace unirun {
namespace {

using namespace std::chrono_literals;

const SystemClock clock_of_all;

void print(const char* metric, double value, const char* unit) {
  std::printf("{\"metric\": \"%s\", \"value\": %.4g, \"unit\": \"%s\"}\n", metric, value, unit);
  std::fflush(stdout);
}

constexpr int rounds = 100;

// Nanoseconds a call: the best of many rounds, each shorter than a time slice, because whatever
// else runs on the machine can only make a round slower.
template <class Call>
double nanoseconds_of(std::uint64_t calls, Call call) {
  Duration best = Duration::max();
  for (int round = 0; round < rounds; ++round) {
    const Instant begin = clock_of_all.now();
    for (std::uint64_t i = 0; i < calls; ++i) call(i);
    best = std::min(best, Duration(clock_of_all.now() - begin));
  }
  return static_cast<double>(best.count()) / static_cast<double>(calls);
}

ServiceStarted payload_of(std::uint64_t i) {
  return {RunId{i}, static_cast<std::int64_t>(i), Duration{static_cast<std::int64_t>(i)}};
}

// One whole event, built, numbered, stamped, and delivered to `observers` of them.
double event_to(std::size_t observers, std::uint64_t events) {
  EventBus bus(clock_of_all);
  std::uint64_t heard = 0;
  std::vector<Subscription> subscriptions;
  for (std::size_t i = 0; i < observers; ++i) {
    subscriptions.push_back(bus.subscribe(EventKind::service_started, [&heard](const Event& event) {
      heard += event.sequence & 1u;
    }));
  }
  const double cost = nanoseconds_of(
      events, [&](std::uint64_t i) { bus.publish("pipeline/ingest", payload_of(i)); });
  if (heard != observers * rounds * events / 2) std::abort();
  return cost;
}

void in_one_thread() {
  const double one = event_to(1, 5'000);
  const double hundred = event_to(100, 1'000);
  print("event_to_1_observer", one, "ns");
  print("event_to_100_observers", hundred, "ns");
  print("delivery", (hundred - one) / 99, "ns");
}

void to_nobody() {
  EventBus bus(clock_of_all);
  const Subscription other = bus.subscribe(EventKind::warning, [](const Event&) {});
  print("no_subscriber",
        nanoseconds_of(500'000,
                       [&](std::uint64_t i) {
                         if (bus.wants(EventKind::service_started))
                           bus.publish("pipeline/ingest", payload_of(i));
                       }),
        "ns");
}

// The rate of one burst, from its first call on another thread to the last on the loop; the best
// of five.
template <class Burst>
double best_rate(std::uint64_t events, Burst burst) {
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const Instant begin = clock_of_all.now();
    burst(events);
    const std::chrono::duration<double> taken = clock_of_all.now() - begin;
    best = std::max(best, static_cast<double>(events) / taken.count());
  }
  return best;
}

void burst_through_an_inlet(std::uint64_t events) {
  EventLoop loop(clock_of_all);
  EventBus bus(clock_of_all);
  // Room for a good part of the burst: the rival's queue has no bound, and a publisher that yields
  // measures the scheduler.
  EventInlet inlet(bus, loop, 65'536);
  std::uint64_t heard = 0;
  const Subscription observer = bus.subscribe(EventKind::service_started, [&](const Event&) {
    if (++heard == events) loop.stop();
  });
  std::thread publisher([&] {
    for (std::uint64_t i = 0; i < events; ++i) {
      while (!inlet.publish("pipeline/ingest", payload_of(i))) std::this_thread::yield();
    }
  });
  loop.run();
  publisher.join();
}

void burst_of_posts(std::uint64_t posts) {
  EventLoop loop(clock_of_all);
  std::uint64_t ran = 0;
  std::thread poster([&] {
    for (std::uint64_t i = 0; i < posts; ++i) {
      loop.post([&] {
        if (++ran == posts) loop.stop();
      });
    }
  });
  loop.run();
  poster.join();
}

// From publish() on another thread to the observer on the loop that sleeps, back and forth without
// a pause: with one, the figure would be the processor's waking from idle.
void one_event_across(int events) {
  EventLoop loop(clock_of_all);
  EventBus bus(clock_of_all);
  EventInlet inlet(bus, loop);
  std::vector<double> microseconds;
  std::atomic<int> heard{0};
  Doorbell arrived;
  Instant published{};
  const Subscription observer = bus.subscribe(EventKind::service_started, [&](const Event&) {
    const std::chrono::duration<double, std::micro> late = clock_of_all.now() - published;
    microseconds.push_back(late.count());
    heard.fetch_add(1);
    arrived.ring();
  });
  std::thread publisher([&] {
    for (int i = 0; i < events; ++i) {
      published = clock_of_all.now();
      inlet.publish("pipeline/ingest", payload_of(1));
      (void)arrived.wait(10s, [&] { return heard.load() > i; });
    }
    loop.stop();
  });
  loop.run();
  publisher.join();
  std::sort(microseconds.begin(), microseconds.end());
  print("across_single_p50", microseconds[microseconds.size() / 2], "us");
  print("across_single_p99", microseconds[microseconds.size() * 99 / 100], "us");
}

}  // namespace
}  // namespace unirun

int main(int argc, char** argv) {
  const std::uint64_t burst = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  unirun::to_nobody();
  unirun::in_one_thread();
  unirun::print("across_burst", unirun::best_rate(burst, unirun::burst_through_an_inlet),
                "events/s");
  unirun::print("post_burst", unirun::best_rate(burst, unirun::burst_of_posts), "posts/s");
  unirun::one_event_across(5'000);
}
