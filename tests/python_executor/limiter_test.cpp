// Limits on what goes on at once: exact, in order, and nothing leaks.

#include "executors/python/state/limiter.h"

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "framework/doorbell.h"
#include "framework/event_loop.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Sleeps until so many wait.
void until_waiting(const Limiter& limiter, std::size_t count) {
  while (limiter.figures().waiting < count) std::this_thread::yield();
}

TEST_CASE("A19: with a limit of 100 the 101st is rejected, by name and with the figures") {
  const Limiter database = limiter("database", {.max_concurrent = 100, .max_queue = 5});
  std::vector<Permit> permits;
  for (int i = 0; i < 100; ++i) permits.push_back(database.try_acquire().value());

  const auto refused = database.try_acquire();
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::overloaded);
  CHECK(has(refused.error().message, "limiter 'database': 100 of 100 permits are held"));

  permits.pop_back();
  CHECK(database.try_acquire().ok());  // And gone again.
  CHECK(database.figures().held == 99);
  CHECK(database.figures().overloaded == 1);
  permits.clear();
  CHECK(database.figures().held == 0);
}

TEST_CASE("A19: one more than may wait is overloaded at once, whichever way it asks") {
  const Limiter one = limiter("full", {.max_concurrent = 1, .max_queue = 2});
  Permit held = one.try_acquire().value();
  int told = 0;
  std::vector<LimiterWait> waits;
  for (int i = 0; i < 2; ++i)
    waits.push_back(one.acquire_async([&](const Result<Permit>& permit) { told += permit.ok(); }));

  const auto refused = one.acquire(30s);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Errc::overloaded);
  CHECK(has(refused.error().message, "2 of 2 who may wait do"));
  std::optional<Errc> code;
  LimiterWait none = one.acquire_async(
      [&](const Result<Permit>& permit) { code = permit.ok() ? Errc::ok : permit.error().code; });
  CHECK(code == Errc::overloaded);
  CHECK_FALSE(none.cancel());

  held.release();
  CHECK(told == 2);  // Each let its permit go when it had been told.
  CHECK(one.figures().held == 0);
}

TEST_CASE("A19: who waits is woken in the order of asking, threads and callbacks alike") {
  const Limiter one = limiter("in order", {.max_concurrent = 1, .max_queue = 100});
  std::optional<Permit> held = one.try_acquire().value();
  std::vector<int> order;  // Whoever holds the permit writes.
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) {
    if (i % 2 == 0) {
      threads.emplace_back([&, i] {
        const Permit mine = one.acquire().value();
        order.push_back(i);
      });
    } else {
      one.acquire_async([&, i](Result<Permit> mine) {
        const Permit permit = std::move(mine).value();
        order.push_back(i);
      });
    }
    until_waiting(one, static_cast<std::size_t>(i) + 1);
  }
  held.reset();
  for (std::thread& thread : threads) thread.join();
  std::vector<int> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(order == expected);
  CHECK(one.figures().held == 0);
  CHECK(one.figures().granted == 21);
}

TEST_CASE("A19: a permit that is free is no good to who comes while others wait") {
  const Limiter one = limiter("no overtaking", {.max_concurrent = 1, .max_queue = 100});
  Permit held = one.try_acquire().value();
  Permit handed_on;
  one.acquire_async([&](Result<Permit> permit) { handed_on = std::move(permit).value(); });
  held.release();
  CHECK(handed_on.is_held());
  CHECK(one.try_acquire().error().code == Errc::overloaded);
}

// Asks again as soon as it has had its turn.
struct Client {
  const Limiter& limiter;
  int& left;
  int turns = 0;

  void ask() {
    limiter.acquire_async([this](Result<Permit> permit) {
      const Permit mine = std::move(permit).value();
      ++turns;
      if (--left > 0) ask();
    });
  }
};

TEST_CASE("A19: shares are fair within a tenth, and a long row is told without a deep stack") {
  const Limiter few = limiter("fair", {.max_concurrent = 3, .max_queue = 100});
  std::vector<Permit> all;
  for (int i = 0; i < 3; ++i) all.push_back(few.try_acquire().value());
  int left = 100'000;
  std::vector<Client> clients(10, Client{few, left});
  for (Client& client : clients) client.ask();
  all.clear();
  for (const Client& client : clients) {
    CHECK(client.turns >= 9'000);
    CHECK(client.turns <= 11'000);
  }
  CHECK(few.figures().held == 0);
  CHECK(few.figures().waiting == 0);
}

TEST_CASE("A19: never more at once than allowed, whatever threads do") {
  const Limiter three = limiter("crowd", {.max_concurrent = 3, .max_queue = 100});
  std::atomic<int> inside{0}, most{0}, turns{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 500; ++j) {
        const Permit mine = three.acquire().value();
        const int now = ++inside;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        ++turns;
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(most <= 3);
  CHECK(turns == 4'000);
  CHECK(three.figures().held == 0);
}

TEST_CASE("A19: a maximum that is changed under load takes effect, up and down") {
  Limiter some = limiter("changing", {.max_concurrent = 2, .max_queue = 1'000});
  std::vector<Permit> permits;
  for (int i = 0; i < 20; ++i)
    some.acquire_async(
        [&](Result<Permit> permit) { permits.push_back(std::move(permit).value()); });
  CHECK(permits.size() == 2);

  some.configure({.max_concurrent = 7, .max_queue = 1'000});
  CHECK(permits.size() == 7);

  some = limiter("changing", {.max_concurrent = 3, .max_queue = 1'000});  // The same one.
  CHECK(some.figures().held == 7);
  const auto release_one = [&] {  // Who is told adds to the permits meanwhile.
    const Permit gone = std::move(permits.back());
    permits.pop_back();
  };
  for (int i = 0; i < 4; ++i) {  // Down to the new maximum nobody follows.
    release_one();
    CHECK(some.figures().waiting == 13);
  }
  release_one();  // One goes, one comes.
  CHECK(permits.size() == 3);
  CHECK(some.figures().waiting == 12);

  some.configure({.max_concurrent = 0, .max_queue = 1'000});
  permits.clear();
  CHECK(some.figures().held == 0);
  CHECK(some.figures().waiting == 12);
  some.configure({.max_concurrent = 100, .max_queue = 1'000});
  CHECK(permits.size() == 12);
}

TEST_CASE("A19: a maximum that is changed while threads take turns stops and starts them") {
  const Limiter some = limiter("changing threads", {.max_concurrent = 1, .max_queue = 1'000});
  std::atomic<bool> over{false};
  std::atomic<int> turns{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!over) {
        const Permit mine = some.acquire().value();
        ++turns;
      }
    });
  }
  for (std::size_t max = 0; max < 60; ++max) {
    some.configure({.max_concurrent = max % 6, .max_queue = 1'000});
    if (max % 6 == 0) {
      until_waiting(some, 4);
      CHECK(some.figures().held == 0);
    } else {
      for (const int before = turns; turns < before + 10;) std::this_thread::yield();
    }
  }
  over = true;
  some.configure({.max_concurrent = 4, .max_queue = 1'000});
  for (std::thread& thread : threads) thread.join();
  CHECK(some.figures().held == 0);
}

TEST_CASE("A19: 1,000 owners that die hold no place afterwards, in any limiter") {
  const Limiter here = limiter("owned here", {.max_concurrent = 1'000, .max_queue = 10});
  const Limiter there = limiter("owned there", {.max_concurrent = 500, .max_queue = 1'000});
  std::vector<Permit> permits;  // Those who kept them for the dead still do.
  std::atomic<int> lost{0}, got{0};
  for (OwnerId owner = 1; owner <= 1'000; ++owner) {
    permits.push_back(here.try_acquire(owner).value());
    there.acquire_async(
        [&](Result<Permit> permit) {
          if (permit.ok()) {
            permits.push_back(std::move(permit).value());
            ++got;
          } else if (permit.error().code == Errc::worker_lost) {
            ++lost;
          }
        },
        owner);
  }
  CHECK(here.try_acquire().error().code == Errc::overloaded);
  CHECK(there.figures().waiting == 500);

  std::vector<std::thread> threads;  // Four at a time tell of their deaths.
  std::atomic<std::size_t> returned{0};
  for (OwnerId first = 1; first <= 4; ++first) {
    threads.emplace_back([&returned, first] {
      // The last who came first: nobody who waits gets a permit that a dead one has left.
      for (OwnerId owner = 1'000 - 4 + first; owner != 0 && owner <= 1'000; owner -= 4)
        returned += release_permits_of(owner);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(here.figures().held == 0);
  CHECK(there.figures().held == 0);
  CHECK(there.figures().waiting == 0);
  CHECK(lost + got == 1'000);
  // One who was let in and died before he was told is lost, though his permit came back.
  CHECK(returned == here.figures().granted + there.figures().granted);
  CHECK(returned >= static_cast<std::size_t>(1'000 + got));
  CHECK(here.figures().orphaned == 1'000);
  CHECK_FALSE(permits.front().is_held());

  permits.clear();  // What has come back does not come back again.
  CHECK(here.figures().held == 0);
  Permit next = here.try_acquire(1'001).value();
  CHECK(here.figures().held == 1);
  CHECK(release_permits_of(7) == 0);
  CHECK(next.is_held());
}

TEST_CASE(
    "A19: the permit of a dead owner goes to who waits, and a thread that waits for it is told") {
  const Limiter one = limiter("inherited", {.max_concurrent = 1, .max_queue = 10});
  const Permit of_the_dead = one.try_acquire(1).value();
  std::optional<Errc> code;
  std::thread waits_for_the_dead([&] {
    const auto permit = one.acquire(30s, 1);
    code = permit.ok() ? Errc::ok : permit.error().code;
  });
  until_waiting(one, 1);
  Permit heir;
  one.acquire_async([&](Result<Permit> permit) { heir = std::move(permit).value(); }, 2);
  CHECK(release_permits_of(1) == 1);
  waits_for_the_dead.join();
  CHECK(code == Errc::worker_lost);
  CHECK(heir.is_held());
  CHECK_FALSE(of_the_dead.is_held());
  CHECK(one.figures().held == 1);
}

TEST_CASE("A19: who waits in vain is told timeout and waits no more") {
  const Limiter one = limiter("slow", {.max_concurrent = 1, .max_queue = 10});
  Permit held = one.try_acquire().value();
  const auto late = one.acquire(1ms);
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().code == Errc::timeout);
  CHECK(has(late.error().message, "limiter 'slow': no permit within 1ms: 1 of 1 are held"));
  CHECK(one.acquire(0ms).error().code == Errc::timeout);
  CHECK(one.figures().waiting == 0);
  held.release();
  CHECK(one.acquire(0ms).ok());
}

TEST_CASE("A19: a wait that ends in time and one that does not: each place is given back") {
  const Limiter two = limiter("edges", {.max_concurrent = 2, .max_queue = 100});
  std::vector<std::thread> threads;
  std::atomic<int> got{0}, late{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 200; ++j) {
        const auto permit = two.acquire(std::chrono::microseconds((i * 37 + j * 11) % 100));
        ++(permit.ok() ? got : late);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(got + late == 1'600);
  CHECK(two.figures().held == 0);
  CHECK(two.figures().waiting == 0);
}

TEST_CASE("A19: a wait is cancelled once, and its place in the row goes to the next") {
  const Limiter one = limiter("cancelled", {.max_concurrent = 1, .max_queue = 2});
  Permit held = one.try_acquire().value();
  std::vector<Errc> codes;
  LimiterWait first = one.acquire_async(
      [&](const Result<Permit>& permit) { codes.push_back(permit.error().code); });
  bool got = false;
  LimiterWait second = one.acquire_async([&](const Result<Permit>& permit) { got = permit.ok(); });
  CHECK(first.cancel());
  CHECK_FALSE(first.cancel());
  CHECK(codes == std::vector{Errc::cancelled});
  held.release();
  CHECK(got);
  CHECK_FALSE(second.cancel());
  CHECK(one.figures().held == 0);
}

TEST_CASE("A19: whoever is told may wait again, drop the limiter, or hand its permit on") {
  auto one = std::make_unique<Limiter>(limiter("told", {.max_concurrent = 1, .max_queue = 10}));
  Permit kept;
  one->acquire_async([&](Result<Permit> permit) {
    one.reset();
    kept = std::move(permit).value();
  });
  CHECK(one == nullptr);
  CHECK(kept.is_held());
  kept.release();
  // Nobody held the limiter but that permit: this is another.
  CHECK(limiter("told", {}).figures().granted == 0);
}

TEST_CASE("A19: who waits at a limiter that nobody can open any more is told so") {
  std::optional<Errc> code;
  {
    const Limiter closed = limiter("closed", {.max_concurrent = 0, .max_queue = 10});
    closed.acquire_async([&](const Result<Permit>& permit) { code = permit.error().code; });
    CHECK_FALSE(code.has_value());
  }
  CHECK(code == Errc::cancelled);
}

TEST_CASE("A19: one name is one limiter, and names that are gone are forgotten") {
  const Limiter one = limiter("shared", {.max_concurrent = 1, .max_queue = 10});
  const Permit held =
      limiter("shared", {.max_concurrent = 1, .max_queue = 10}).try_acquire().value();
  CHECK(one.figures().held == 1);
  CHECK(one.name() == "shared");
  for (int i = 0; i < 10'000; ++i) {
    const Limiter brief = limiter("brief " + std::to_string(i), {});
    CHECK(brief.try_acquire().ok());
  }
}

TEST_CASE("A19: who would wait on a loop's thread or inside a coroutine is told how to") {
  const Limiter one = limiter("on a loop", {.max_concurrent = 1, .max_queue = 10});
  Permit kept;
  const auto acquire = PythonExecutor::register_function("acquire", [&]() -> Result<int> {
    auto permit = one.acquire(30s);
    if (!permit.ok()) return permit.error();
    kept = *std::move(permit);
    return 1;
  });
  const Scene running(R"(
import asyncio, unirun
async def acquire():
    try: return unirun.call("acquire")
    except Exception as error: return str(error)
)");
  const auto asked = [] { return PythonExecutor::async_call("scene", "acquire").get(); };
  CHECK(*asked() == Value(1));  // It is free.
  const auto refused = asked();
  REQUIRE(refused.ok());
  CHECK(has(refused->as_string(), "limiter 'on a loop': no permit is free"));
  CHECK(has(refused->as_string(), "acquire_async()"));
  const SystemClock clock;
  EventLoop loop(clock);
  std::optional<Errc> on_loop;
  loop.post([&] {
    on_loop = one.acquire(30s).error().code;
    loop.stop();
  });
  loop.run();
  CHECK(on_loop == Errc::unsupported);
  CHECK(one.figures().waiting == 0);
  kept.release();
}

TEST_CASE("A19: who waits with the GIL lets go of it, for whoever has the permit may need it") {
  const Running running({.num_workers = 2});
  const Limiter one = limiter("with the GIL", {.max_concurrent = 1, .max_queue = 10});
  Permit held = one.try_acquire().value();
  auto waiting = PythonExecutor::submit([&] { return one.acquire(3600s).ok(); });
  until_waiting(one, 1);
  auto giving = PythonExecutor::submit([&] { held.release(); });
  REQUIRE(giving.wait_for(60s));
  CHECK(*waiting.get());
}

}  // namespace
}  // namespace unirun::python
