// E10: what generators give, item by item.

#include "executors/python/python.h"
// Python.h first.

#include <doctest/doctest.h>

#include <latch>
#include <thread>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "tests/python_executor/async_scene.h"

namespace unirun::python {
namespace {

using namespace std::chrono_literals;

constexpr const char* scene = R"(
import asyncio, time

made = begun = closed = turns = 0

def count(end):
    global made, closed
    try:
        for n in range(end):
            made += 1
            yield n
    finally:
        closed += 1
async def async_count(end):
    global made, closed
    try:
        for n in range(end):
            made += 1
            yield n
    finally:
        await asyncio.sleep(0)
        closed += 1
async def slow_count(end):
    for n in range(end):
        await asyncio.sleep(0)
        yield n
async def coroutine_of_list(end): return list(range(end))
async def coroutine_of_generator(end): return async_count(end)
def items(): return [1, "two", b"three", None]
def nothing(): return 42
async def coroutine_of_nothing(): return 42
def fail_after(end):
    yield from range(end)
    raise ValueError("as asked")
async def async_fail_after(end):
    for n in range(end): yield n
    raise ValueError("as asked")
def unspeakable():
    yield 1
    yield 1 << 100
def endless(): return count(1 << 60)
def async_endless(): return async_count(1 << 60)
async def wait_for_ever():
    global closed
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        closed += 1
def compute_for_ever():
    global closed, begun
    try:
        begun += 1
        yield 1
        while True: time.monotonic()
    finally:
        closed += 1
def compute_at_once():
    global closed, begun
    try:
        begun += 1  # A loop here would be no part of the try, to 3.11 and 3.12, where it jumps back.
        while True: time.monotonic()
    finally:
        closed += 1
async def async_compute_for_ever():
    global closed, begun
    try:
        begun += 1
        yield 1
        while True: time.monotonic()
    finally:
        closed += 1
async def swallow():
    global begun
    yield 1
    begun += 1
    while True:
        try: await asyncio.sleep(1000)
        except asyncio.CancelledError: pass
def stay():
    import unirun
    global begun
    yield 1
    begun += 1
    unirun.call("stay")
async def sibling():
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0)
)";

constexpr std::int64_t endless = std::int64_t{1} << 60;

// What a reader on a loop gets: the items, and the word of the error at the end.
struct Read {
  std::vector<Value> items;
  Errc end = Errc::ok;
  std::string message;
};

Task<Read> read_up_to(Stream& stream, std::size_t most) {
  Read read;
  while (read.items.size() < most) {
    std::optional<Result<Value>> item = co_await stream.next();
    if (!item) break;
    if (!item->ok()) {
      read.end = item->error().code;
      read.message = item->error().message;
      continue;
    }
    read.items.push_back(*std::move(*item));
  }
  co_return read;
}

class Reader {
 public:
  Read read(Stream& stream, std::size_t most = 1 << 30) {
    return run_task(loop_, read_up_to(stream, most));
  }
  Read read(const char* function, Args args = {}, const StreamOptions& options = {}) {
    Stream stream = PythonExecutor::stream("scene", function, std::move(args), {}, options);
    return read(stream);
  }

 private:
  SystemClock clock_;
  EventLoop loop_{clock_};
};

void ended_while_it_ran(Reader& reader, const char* function) {
  const std::int64_t before = Scene::value_of("begun").as_int64();
  until_begun_in_time([&](Duration timeout) {
    CHECK(reader.read(function, {}, {.timeout = timeout}).end == Errc::timeout);
    return Scene::value_of("begun").as_int64() > before;
  });
}

void check_numbers(const Read& read, std::size_t end) {
  REQUIRE(read.items.size() == end);
  for (std::size_t n = 0; n < end; ++n)
    REQUIRE(read.items[n] == Value(static_cast<std::int64_t>(n)));
}

}  // namespace

TEST_CASE("A10: whatever gives items is a stream") {
  const Scene running(scene);
  Reader reader;
  for (const char* const function :
       {"count", "async_count", "slow_count", "coroutine_of_list", "coroutine_of_generator"}) {
    CAPTURE(function);
    const Read read = reader.read(function, {1000});
    CHECK(read.end == Errc::ok);
    check_numbers(read, 1000);
    CHECK(reader.read(function, {0}).items.empty());
  }
  CHECK(reader.read("items").items == std::vector<Value>{1, "two", Bytes{"three"}, nullptr});
}

TEST_CASE("A10: any window and any batch give the same items") {
  const Scene running(scene);
  Reader reader;
  for (const StreamOptions& options :
       {StreamOptions{.window = 1, .batch = 1}, StreamOptions{.window = 1, .batch = 100},
        StreamOptions{.window = 2, .batch = 3}, StreamOptions{.window = 1000, .batch = 1},
        StreamOptions{.window = 0, .batch = 0}}) {
    check_numbers(reader.read("count", {300}, options), 300);
    check_numbers(reader.read("async_count", {300}, options), 300);
  }
}

TEST_CASE("A10: an error comes after the items before it, and then the end") {
  const Scene running(scene);
  Reader reader;
  for (const char* const function : {"fail_after", "async_fail_after"}) {
    Stream stream = PythonExecutor::stream("scene", function, {100});
    const Read read = reader.read(stream);
    check_numbers(read, 100);
    CHECK(read.end == Errc::python_exception);
    CHECK(read.message == "as asked");
    CHECK(reader.read(stream).items.empty());
  }
  const Read unspeakable = reader.read("unspeakable");
  CHECK(unspeakable.items.size() == 1);
  CHECK(unspeakable.end == Errc::conversion);
}

TEST_CASE("A10: what is no iterable is told so, and what cannot be called as well") {
  const Scene running(scene);
  Reader reader;
  CHECK(reader.read("nothing").end == Errc::conversion);
  CHECK(reader.read("coroutine_of_nothing").end == Errc::conversion);
  CHECK(reader.read("no_such_function").end == Errc::unknown_function);
  CHECK(reader.read("a b").end == Errc::import_failed);
  CHECK(reader.read("made").end == Errc::not_callable);
  CHECK(reader.read("count").end == Errc::python_exception);
}

TEST_CASE("A10: a generator is never further ahead of its reader than the window") {
  const Scene running(scene, {.num_workers = 1});
  Reader reader;
  for (const char* const function : {"count", "async_count"}) {
    Stream stream =
        PythonExecutor::stream("scene", function, {endless}, {}, {.window = 10, .batch = 4});
    std::int64_t read = 0;
    const std::int64_t before = Scene::value_of("made").as_int64();
    for (int turn = 0; turn < 200; ++turn) {
      read += static_cast<std::int64_t>(reader.read(stream, 3).items.size());
      // One more may have been made than was taken.
      CHECK(Scene::value_of("made").as_int64() - before <= read + 11);
    }
    CHECK(read == 600);
  }
}

TEST_CASE("A10: who cancels or drops a stream has its generator closed") {
  const Scene running(scene);
  Reader reader;
  for (const char* const function : {"endless", "async_endless"}) {
    CAPTURE(function);
    const std::int64_t before = Scene::value_of("closed").as_int64();
    const std::string one_more = "closed == " + std::to_string(before + 1);
    const std::string two_more = "closed == " + std::to_string(before + 2);
    {
      Stream stream = PythonExecutor::stream("scene", function);
      check_numbers(reader.read(stream, 10), 10);
      stream.cancel();
      const Read rest = reader.read(stream);
      CHECK(rest.items.empty());
      CHECK(rest.end == Errc::stream_closed);
      Scene::wait_until(one_more);
    }
    {
      Stream stream = PythonExecutor::stream("scene", function);
      check_numbers(reader.read(stream, 10), 10);
    }
    Scene::wait_until(two_more);
  }
}

TEST_CASE("A10: a generator that awaits is closed where it waits, and at the deadline") {
  const Scene running(scene);
  Reader reader;
  {
    Stream stream = PythonExecutor::stream("scene", "wait_for_ever");
    CHECK(reader.read(stream, 1).items.size() == 1);
  }
  Scene::wait_until("closed == 1");
  const Read read = reader.read("wait_for_ever", {}, {.timeout = 50ms});
  CHECK(read.end == Errc::timeout);
  CHECK(reader.read("count", {10}, {.timeout = 0s}).end == Errc::timeout);
}

TEST_CASE("A10: a step that does not end is interrupted at the deadline, and its finally runs") {
  const Scene running(scene);
  Reader reader;
  int closed = 0;
  for (const char* const function :
       {"compute_for_ever", "compute_at_once", "async_compute_for_ever"}) {
    CAPTURE(std::string(function));
    ended_while_it_ran(reader, function);
    // On the only worker, or on the loop, which is free again.
    Scene::wait_until("closed == " + std::to_string(++closed));
    CHECK(*PythonExecutor::async_call("asyncio", "sleep", {0, 1}).get() == Value(1));
  }
  CHECK(PythonExecutor::get_stats().stuck == 0);
}

TEST_CASE("A10: one that is stuck in C loses its worker at the deadline") {
  std::latch open{1};
  const auto stay = PythonExecutor::register_function("stay", [&] { open.wait(); });
  {
    const Scene running(scene);
    Reader reader;
    ended_while_it_ran(reader, "stay");
    CHECK(Scene::value_of("1") == Value(1));  // By another.
    CHECK(PythonExecutor::get_stats().stuck == 1);
    open.count_down();
  }
}

TEST_CASE("A10: one that swallows its cancellation ends for its reader, and is stuck at the end") {
  const Scene running(scene);
  Reader reader;
  ended_while_it_ran(reader, "swallow");
  CHECK(code_of(PythonExecutor::shutdown({.drain = 0s, .grace = 50ms})) == Errc::stuck);
}

TEST_CASE("A10: an asynchronous generator lets other coroutines run, whether it awaits or not") {
  const Scene running(scene);
  Reader reader;
  auto sibling = PythonExecutor::async_call("scene", "sibling");
  Scene::wait_until("turns > 0");
  for (const char* const function : {"async_count", "slow_count"}) {
    const std::int64_t before = Scene::value_of("turns").as_int64();
    check_numbers(reader.read(function, {2000}), 2000);
    CHECK(Scene::value_of("turns").as_int64() - before >= 100);
  }
  CHECK(sibling.cancel());
}

TEST_CASE("A10: for_each calls with every item and gives the error") {
  const Scene running(scene);
  const SystemClock clock;
  EventLoop loop(clock);
  std::int64_t sum = 0;
  const auto add = [&sum](const Value& value) { sum += value.as_int64(); };
  Stream numbers = PythonExecutor::stream("scene", "count", {1000});
  CHECK(run_task(loop, numbers.for_each(add)).ok());
  CHECK(sum == 499500);
  Stream failing = PythonExecutor::stream("scene", "fail_after", {10});
  CHECK(code_of(run_task(loop, failing.for_each(add))) == Errc::python_exception);
}

TEST_CASE("A10: a shutdown ends streams, and without an executor they say so") {
  Reader reader;
  CHECK(reader.read("count", {10}).end == Errc::not_initialized);
  const Scene running(scene);
  Stream paused = PythonExecutor::stream("scene", "endless");
  Stream async_paused = PythonExecutor::stream("scene", "async_endless");
  check_numbers(reader.read(paused, 10), 10);
  check_numbers(reader.read(async_paused, 10), 10);
  REQUIRE(PythonExecutor::shutdown({.drain = 0s, .grace = patience}).ok());
  CHECK(reader.read(paused).end != Errc::ok);
  CHECK(reader.read(async_paused).end != Errc::ok);
}

}  // namespace unirun::python
