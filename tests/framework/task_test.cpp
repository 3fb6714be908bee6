#include "framework/task.h"

#include <doctest/doctest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/run_task.h"
#include "framework/service.h"

namespace unirun {
namespace {

struct Ended final : TaskObserver {
  std::coroutine_handle<> on_task_ended() noexcept override {
    ++times;
    return std::noop_coroutine();
  }
  int times = 0;
};

// Suspends for ever, and says when it is destroyed.
struct Forever {
  explicit Forever(std::vector<std::string>* a_log = nullptr, std::string a_name = {})
      : log(a_log), name(std::move(a_name)) {}
  ~Forever() {
    if (log) log->push_back(name);
  }
  Forever(const Forever&) = delete;
  Forever& operator=(const Forever&) = delete;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}

  std::vector<std::string>* log;
  std::string name;
};

Task<int> answer() { co_return 42; }
Task<std::unique_ptr<int>> boxed() { co_return std::make_unique<int>(7); }
Task<> fails() {
  throw std::runtime_error("no");
  co_return;
}
Task<int> sum_to(int n) {
  if (n == 0) co_return 0;
  const int rest = co_await sum_to(n - 1);
  co_return n + rest;
}
Task<int> ten_thousand_turns() {
  int sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const int one = co_await answer();
    sum += one;
  }
  co_return sum;
}
Task<std::string> catches() {
  try {
    co_await fails();
  } catch (const std::runtime_error& error) {
    co_return error.what();
  }
  co_return "nothing";
}

template <class T>
T outcome(Task<T> task) {
  Ended ended;
  task.start(ended);
  REQUIRE(ended.times == 1);
  return task.take();
}

TEST_CASE("a task begins when it is started or awaited, and gives its value") {
  bool begun = false;
  const auto begins = [](bool& flag) -> Task<> {
    flag = true;
    co_return;
  };
  Task<> task = begins(begun);
  CHECK_FALSE(begun);
  outcome(std::move(task));
  CHECK(begun);
  CHECK(outcome(answer()) == 42);
  CHECK(*outcome(boxed()) == 7);
  CHECK(outcome(sum_to(1'000)) == 500'500);
  CHECK(outcome(ten_thousand_turns()) == 420'000);
}

TEST_CASE("what leaves a task as an exception leaves the co_await, and take()") {
  CHECK(outcome(catches()) == "no");
  CHECK_THROWS_AS(outcome(fails()), std::runtime_error);

  Ended ended;
  Task<> task = fails();
  task.start(ended);
  CHECK(task.failure() != nullptr);
}

Task<> inner(std::vector<std::string>& log) {
  Forever wait(&log, "inner");
  co_await wait;
}
Task<> outer(std::vector<std::string>& log) {
  const Forever mark(&log, "outer");
  co_await inner(log);
}

TEST_CASE("a task that is destroyed where it waits is destroyed from the inside out") {
  std::vector<std::string> log;
  Ended ended;
  {
    Task<> task = outer(log);
    task.start(ended);
    CHECK(log.empty());
  }
  CHECK(log == std::vector<std::string>{"inner", "outer"});
  CHECK(ended.times == 0);
}

TEST_CASE("a task that was never begun and one that was moved from are destroyed quietly") {
  std::vector<std::string> log;
  Task<> never = outer(log);
  Task<> moved = std::move(never);
  CHECK_FALSE(never.valid());
  CHECK(moved.valid());
  moved = Task<>();
  CHECK_FALSE(moved.valid());
  CHECK(log.empty());
}

TEST_CASE("run_task drives a task on a loop of its own, and what leaves it leaves run_task") {
  const SystemClock clock;
  EventLoop loop(clock);
  CHECK(run_task(loop, answer()) == 42);
  CHECK(run_task(loop, catches()) == "no");
  CHECK_THROWS_AS(run_task(loop, fails()), std::runtime_error);
  CHECK(run_task(loop, answer()) == 42);  // The loop is as it was.
}

}  // namespace
}  // namespace unirun
