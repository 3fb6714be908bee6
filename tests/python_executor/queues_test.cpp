// Queues between threads: bounded, in order, nothing lost, nothing twice.

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "executors/python/queues/mpmc_queue.h"
#include "executors/python/queues/spsc_queue.h"

namespace unirun::python {
namespace {

using Owned = std::unique_ptr<int>;  // Moves only.

// Counts those alive.
class Counted {
 public:
  explicit Counted(std::atomic<int>& alive) : alive_(&alive) { ++*alive_; }
  Counted(Counted&& other) noexcept : alive_(other.alive_) { ++*alive_; }
  ~Counted() { --*alive_; }

 private:
  std::atomic<int>* alive_;
};

template <class Queue, class T>
void push(Queue& queue, T value) {
  while (!queue.try_push(std::move(value))) std::this_thread::yield();
}

template <class Queue>
auto pop(Queue& queue) {
  auto value = queue.try_pop();
  while (!value) {
    std::this_thread::yield();
    value = queue.try_pop();
  }
  return std::move(*value);
}

TEST_CASE_TEMPLATE("A25: a queue rounds its capacity up to a power of two and says so", Queue,
                   SpscQueue<int>, MpmcQueue<int>) {
  CHECK(Queue(1).capacity() == 1);
  CHECK(Queue(2).capacity() == 2);
  CHECK(Queue(3).capacity() == 4);
  CHECK(Queue(100).capacity() == 128);
  CHECK(Queue(10'000).capacity() == 16'384);
}

TEST_CASE_TEMPLATE("A25: a full queue refuses one more and leaves it as it was", Queue,
                   SpscQueue<Owned>, MpmcQueue<Owned>) {
  Queue queue(100);
  for (std::size_t i = 0; i < queue.capacity(); ++i)
    REQUIRE(queue.try_push(std::make_unique<int>(static_cast<int>(i))));
  CHECK(queue.size_approx() == 128);

  auto refused = std::make_unique<int>(7);
  CHECK_FALSE(queue.try_push(std::move(refused)));
  REQUIRE(refused != nullptr);

  CHECK(**queue.try_pop() == 0);
  CHECK(queue.try_push(std::move(refused)));
  CHECK(queue.size_approx() == 128);
}

TEST_CASE_TEMPLATE("A25: an empty queue gives nothing, before and after", Queue, SpscQueue<Owned>,
                   MpmcQueue<Owned>) {
  Queue queue(4);
  CHECK_FALSE(queue.try_pop().has_value());
  REQUIRE(queue.try_push(std::make_unique<int>(1)));
  CHECK(queue.try_pop().has_value());
  CHECK_FALSE(queue.try_pop().has_value());
  CHECK(queue.size_approx() == 0);
  std::vector<Owned> none;
  CHECK(queue.try_pop_batch(none, 10) == 0);
  CHECK(queue.try_push_batch(none) == 0);
}

TEST_CASE_TEMPLATE("A25: a batch takes what there is room for and leaves the rest", Queue,
                   SpscQueue<Owned>, MpmcQueue<Owned>) {
  Queue queue(8);
  std::vector<Owned> batch;
  for (int i = 0; i < 12; ++i) batch.push_back(std::make_unique<int>(i));
  CHECK(queue.try_push_batch(batch) == 8);
  for (int i = 0; i < 8; ++i) CHECK(batch[static_cast<std::size_t>(i)] == nullptr);
  for (int i = 8; i < 12; ++i) CHECK(*batch[static_cast<std::size_t>(i)] == i);
  CHECK(queue.try_push_batch(std::span(batch).subspan(8)) == 0);

  std::vector<Owned> taken;
  CHECK(queue.try_pop_batch(taken, 5) == 5);
  CHECK(queue.try_push_batch(std::span(batch).subspan(8)) == 4);
  CHECK(queue.try_pop_batch(taken, 100) == 7);
  REQUIRE(taken.size() == 12);
  for (int i = 0; i < 12; ++i) CHECK(*taken[static_cast<std::size_t>(i)] == i);
}

TEST_CASE_TEMPLATE("A25: what is left in a queue dies with it, once", Queue, SpscQueue<Counted>,
                   MpmcQueue<Counted>) {
  std::atomic<int> alive{0};
  {
    Queue queue(64);
    for (int i = 0; i < 50; ++i) REQUIRE(queue.try_push(Counted(alive)));
    for (int i = 0; i < 20; ++i) REQUIRE(queue.try_pop().has_value());
    CHECK(alive == 30);
  }
  CHECK(alive == 0);
}

TEST_CASE_TEMPLATE("A25: one thread to another: all, in order, with what they point to", Queue,
                   SpscQueue<Owned>, MpmcQueue<Owned>) {
  constexpr int count = 100'000;
  Queue queue(64);
  std::thread pusher([&] {
    for (int i = 0; i < count; ++i) push(queue, std::make_unique<int>(i));
  });
  int wrong = 0;
  for (int i = 0; i < count; ++i) wrong += *pop(queue) != i;
  pusher.join();
  CHECK(wrong == 0);
  CHECK_FALSE(queue.try_pop().has_value());
}

TEST_CASE_TEMPLATE("A25: one thread to another in batches of any size", Queue, SpscQueue<int>,
                   MpmcQueue<int>) {
  constexpr int count = 50'000;
  Queue queue(64);
  std::thread pusher([&] {
    std::vector<int> batch;
    for (int next = 0, size = 1; next < count; size = size % 100 + 1) {
      batch.clear();
      for (int i = 0; i < size && next < count; ++i) batch.push_back(next++);
      for (std::span<int> rest(batch); !rest.empty();) {
        const std::size_t pushed = queue.try_push_batch(rest);
        if (pushed == 0) std::this_thread::yield();
        rest = rest.subspan(pushed);
      }
    }
  });
  std::vector<int> taken;
  for (std::size_t size = 1; taken.size() < count; size = size % 70 + 1) {
    if (queue.try_pop_batch(taken, size) == 0) std::this_thread::yield();
  }
  pusher.join();
  REQUIRE(taken.size() == count);
  int wrong = 0;
  for (int i = 0; i < count; ++i) wrong += taken[static_cast<std::size_t>(i)] != i;
  CHECK(wrong == 0);
}

TEST_CASE("A25: the 64-bit indices of a queue for two threads wrap around") {
  constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t before : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{1'000}}) {
    CAPTURE(before);
    SpscQueue<Owned> queue(8, last - before);
    std::thread pusher([&] {
      for (int i = 0; i < 10'000; ++i) push(queue, std::make_unique<int>(i));
    });
    int wrong = 0;
    for (int i = 0; i < 10'000; ++i) wrong += *pop(queue) != i;
    pusher.join();
    CHECK(wrong == 0);
    CHECK(queue.size_approx() == 0);
  }
  SpscQueue<int> across(8, last - 3);  // Full and empty look alike to who compares badly.
  for (int i = 0; i < 8; ++i) REQUIRE(across.try_push(int{i}));
  CHECK(across.size_approx() == 8);
  CHECK_FALSE(across.try_push(8));
  std::vector<int> taken;
  CHECK(across.try_pop_batch(taken, 100) == 8);
  CHECK(taken == std::vector{0, 1, 2, 3, 4, 5, 6, 7});
}

// Every 65,536 values the indices begin anew.
struct SmallIndices : moodycamel::ConcurrentQueueDefaultTraits {
  using size_t = std::uint16_t;
  using index_t = std::uint16_t;
  static constexpr size_t MAX_SUBQUEUE_SIZE = std::numeric_limits<size_t>::max();
};

struct Item {
  int producer;
  int number;
};

// What `consumers` threads took, each in the order in which it did.
template <class Queue>
std::vector<std::vector<Item>> pass_through(Queue& queue, int producers, int consumers, int count) {
  std::vector<std::thread> threads;
  for (int producer = 0; producer < producers; ++producer) {
    threads.emplace_back([&queue, producer, count] {
      for (int number = 0; number < count; ++number) push(queue, Item{producer, number});
    });
  }
  std::atomic<int> left{producers * count};
  std::vector<std::vector<Item>> taken(static_cast<std::size_t>(consumers));
  for (auto& mine : taken) {
    threads.emplace_back([&queue, &left, &mine] {
      while (left > 0) {
        if (const auto item = queue.try_pop()) {
          mine.push_back(*item);
          --left;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return taken;
}

// Each exactly once; and whoever takes two of one producer takes the older first.
void check_all_once_in_order(const std::vector<std::vector<Item>>& taken, int producers,
                             int count) {
  std::vector<std::vector<int>> seen(static_cast<std::size_t>(producers),
                                     std::vector<int>(static_cast<std::size_t>(count)));
  int backwards = 0;
  for (const auto& mine : taken) {
    std::vector<int> last(static_cast<std::size_t>(producers), -1);
    for (const Item& item : mine) {
      const auto producer = static_cast<std::size_t>(item.producer);
      backwards += item.number <= last[producer];
      last[producer] = item.number;
      ++seen[producer][static_cast<std::size_t>(item.number)];
    }
  }
  CHECK(backwards == 0);
  for (const auto& counts : seen)
    CHECK(std::all_of(counts.begin(), counts.end(), [](int times) { return times == 1; }));
}

TEST_CASE("A25: many threads to many: each value once, in the order of its producer") {
  MpmcQueue<Item> queue(128);
  check_all_once_in_order(pass_through(queue, 4, 4, 25'000), 4, 25'000);
  CHECK(queue.size_approx() == 0);
}

TEST_CASE("A25: the indices of a queue for many threads wrap around") {
  MpmcQueue<Item, SmallIndices> queue(128);
  check_all_once_in_order(pass_through(queue, 2, 2, 150'000), 2, 150'000);
  CHECK(queue.size_approx() == 0);
}

TEST_CASE("A19: with a limit of 100 the 101st is rejected, and room comes back one by one") {
  MpmcQueue<int> queue(100, 100);
  CHECK(queue.capacity() == 128);
  CHECK(queue.limit() == 100);
  for (int i = 0; i < 100; ++i) REQUIRE(queue.try_push(int{i}));
  CHECK_FALSE(queue.try_push(100));
  for (int i = 0; i < 10; ++i) {
    REQUIRE(queue.try_pop().has_value());
    CHECK(queue.try_push(100));
    CHECK_FALSE(queue.try_push(100));
  }
  CHECK(MpmcQueue<int>(100, 1'000).limit() == 128);
}

TEST_CASE("A19: eight threads at once get exactly as many values in as the limit says") {
  for (int round = 0; round < 50; ++round) {
    MpmcQueue<int> queue(100, 100);
    std::atomic<int> accepted{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 25; ++j) accepted += queue.try_push(int{j});
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(accepted == 100);
    std::vector<int> taken;
    REQUIRE(queue.try_pop_batch(taken, 1'000) == 100);
  }
}

TEST_CASE("A25: producers that come and go leave nothing behind") {
  MpmcQueue<Owned> queue(1'024);
  int got = 0;
  for (int i = 0; i < 300; ++i) {
    std::thread([&] { push(queue, std::make_unique<int>(i)); }).join();
    got += *pop(queue) == i;
  }
  CHECK(got == 300);
}

}  // namespace
}  // namespace unirun::python
