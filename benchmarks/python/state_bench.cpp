// Queues, counters, shared state and limits of executors/python/, each beside what one would take
// otherwise, in turns and in the same run: the median of the rounds. Prints one JSON object a line:
// {"metric", "value", "rival", "value_of_rival", "ratio", "unit"}; a ratio above 1 is ours.
//
// usage: state_bench [rounds, default 9]

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executors/python/queues/mpmc_queue.h"
#include "executors/python/queues/spsc_queue.h"
#include "executors/python/state/limiter.h"
#include "executors/python/state/shared_state.h"
#include "framework/clock.h"

#if __has_include(<readerwriterqueue/readerwritercircularbuffer.h>)
#include <readerwriterqueue/readerwritercircularbuffer.h>
#define UNIRUN_HAS_READERWRITERQUEUE
#endif

namespace unirun::python {
namespace {

const SystemClock clock_of_all;
int rounds = 9;

template <class Work>
double seconds_of(Work work) {
  const Instant begin = clock_of_all.now();
  work();
  return std::chrono::duration<double>(clock_of_all.now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// `ours` and `theirs` do `count` operations each.
template <class Ours, class Theirs>
void compare(const char* metric, const char* rival, double count, Ours ours, Theirs theirs) {
  std::vector<double> mine, other;
  for (int round = 0; round < rounds; ++round) {
    mine.push_back(count / seconds_of(ours) / 1e6);
    other.push_back(count / seconds_of(theirs) / 1e6);
  }
  const double one = median(mine), two = median(other);
  std::printf(
      "{\"metric\": \"%s\", \"value\": %.4g, \"rival\": \"%s\", \"value_of_rival\": %.4g, "
      "\"ratio\": %.3g, \"unit\": \"million/s\"}\n",
      metric, one, rival, two, one / two);
  std::fflush(stdout);
}

// What one writes in five minutes.
template <class T>
class LockedQueue {
 public:
  explicit LockedQueue(std::size_t limit) : limit_(limit) {}
  bool try_push(T&& value) {
    const std::lock_guard lock(mutex_);
    if (values_.size() >= limit_) return false;
    values_.push_back(std::move(value));
    return true;
  }
  std::optional<T> try_pop() {
    const std::lock_guard lock(mutex_);
    if (values_.empty()) return std::nullopt;
    std::optional<T> value(std::move(values_.front()));
    values_.pop_front();
    return value;
  }

 private:
  const std::size_t limit_;
  std::mutex mutex_;
  std::deque<T> values_;
};

#ifdef UNIRUN_HAS_READERWRITERQUEUE
template <class T>
class Circular {
 public:
  explicit Circular(std::size_t limit) : queue_(limit) {}
  bool try_push(T&& value) { return queue_.try_enqueue(std::move(value)); }
  std::optional<T> try_pop() {
    T value{};
    if (!queue_.try_dequeue(value)) return std::nullopt;
    return value;
  }

 private:
  moodycamel::BlockingReaderWriterCircularBuffer<T> queue_;
};
#endif

constexpr std::uint64_t items = 1'000'000;
constexpr std::size_t places = 1'024;

// Without a second CPU's caches: what the operations themselves cost.
template <class Queue>
void on_one_thread() {
  Queue queue(places);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < items; i += 64) {
    for (std::uint64_t j = 0; j < 64; ++j) {
      if (!queue.try_push(i + j)) std::abort();
    }
    for (std::uint64_t j = 0; j < 64; ++j) sum += *queue.try_pop();
  }
  if (sum == 0) std::abort();
}

template <class Queue>
void between(int producers, int consumers) {
  Queue queue(places);
  std::atomic<std::uint64_t> left{items};
  std::vector<std::thread> threads;
  for (int p = 0; p < producers; ++p) {
    threads.emplace_back([&, share = items / static_cast<std::uint64_t>(producers)] {
      for (std::uint64_t i = 0; i < share; ++i) {
        while (!queue.try_push(std::uint64_t{i})) std::this_thread::yield();
      }
    });
  }
  for (int c = 0; c < consumers; ++c) {
    threads.emplace_back([&] {
      std::uint64_t taken = 0;
      while (left.load(std::memory_order_relaxed) > 0) {
        for (; queue.try_pop(); ++taken) {
        }
        left.fetch_sub(std::exchange(taken, 0));
        std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void queues() {
  using Number = std::uint64_t;
  const double count = static_cast<double>(items);
  compare("spsc_push_and_pop_on_one_thread", "std::mutex and std::deque", count,
          on_one_thread<SpscQueue<Number>>, on_one_thread<LockedQueue<Number>>);
  compare("mpmc_push_and_pop_on_one_thread", "std::mutex and std::deque", count,
          on_one_thread<MpmcQueue<Number>>, on_one_thread<LockedQueue<Number>>);
  compare(
      "spsc_between_two_threads", "std::mutex and std::deque", count,
      [] { between<SpscQueue<Number>>(1, 1); }, [] { between<LockedQueue<Number>>(1, 1); });
  compare(
      "mpmc_between_four_and_four_threads", "std::mutex and std::deque", count,
      [] { between<MpmcQueue<Number>>(4, 4); }, [] { between<LockedQueue<Number>>(4, 4); });
#ifdef UNIRUN_HAS_READERWRITERQUEUE
  compare("spsc_push_and_pop_on_one_thread", "moodycamel's circular buffer", count,
          on_one_thread<SpscQueue<Number>>, on_one_thread<Circular<Number>>);
  compare(
      "spsc_between_two_threads", "moodycamel's circular buffer", count,
      [] { between<SpscQueue<Number>>(1, 1); }, [] { between<Circular<Number>>(1, 1); });
#endif
}

void counters(const SharedState& state) {
  const Counter counter = state.counter("requests").value();
  std::mutex mutex;
  std::unordered_map<std::string, std::int64_t> map;
  const auto locked = [&] {
    for (std::uint64_t i = 0; i < items; ++i) {
      const std::lock_guard lock(mutex);
      ++map["requests"];
    }
  };
  const char* rival = "std::mutex and std::unordered_map";
  compare(
      "counter", rival, static_cast<double>(items),
      [&] {
        for (std::uint64_t i = 0; i < items; ++i) counter.increment();
      },
      locked);
  compare(
      "increment_by_key", rival, static_cast<double>(items),
      [&] {
        for (std::uint64_t i = 0; i < items; ++i) (void)state.increment("requests");
      },
      locked);
}

// The rival keeps Values as they are, which no other interpreter or process could have.
void values(const SharedState& state) {
  constexpr int count = 200'000;
  std::vector<std::string> keys;
  for (int i = 0; i < 1'000; ++i) keys.push_back("session:" + std::to_string(i));
  const Value value = Object{{"user", "ada"}, {"visits", 3}, {"admin", false}};
  std::mutex mutex;
  std::unordered_map<std::string, Value> map;
  const auto key = [&](int i) -> const std::string& {
    return keys[static_cast<std::size_t>(i % 1'000)];
  };
  const char* rival = "std::mutex and std::unordered_map";
  compare(
      "set", rival, count,
      [&] {
        for (int i = 0; i < count; ++i) (void)state.set(key(i), value);
      },
      [&] {
        for (int i = 0; i < count; ++i) {
          Value copy = value;
          const std::lock_guard lock(mutex);
          map[key(i)] = std::move(copy);
        }
      });
  compare(
      "get", rival, count,
      [&] {
        for (int i = 0; i < count; ++i) {
          if (!state.get(key(i))) std::abort();
        }
      },
      [&] {
        for (int i = 0; i < count; ++i) {
          const std::lock_guard lock(mutex);
          const Value copy = map.at(key(i));
          if (copy.is_null()) std::abort();
        }
      });
}

void limits() {
  const Limiter ours = limiter("bench", {.max_concurrent = 8, .max_queue = 100});
  std::counting_semaphore<8> semaphore(8);
  compare(
      "acquire_and_release", "std::counting_semaphore", static_cast<double>(items),
      [&] {
        for (std::uint64_t i = 0; i < items; ++i) (void)ours.try_acquire().ok();
      },
      [&] {
        for (std::uint64_t i = 0; i < items; ++i) {
          if (!semaphore.try_acquire()) std::abort();
          semaphore.release();
        }
      });
}

}  // namespace
}  // namespace unirun::python

int main(int argc, char** argv) {
  using namespace unirun::python;
  if (argc > 1) rounds = std::max(1, std::atoi(argv[1]));
  const SharedState state = SharedState::create().value();
  queues();
  counters(state);
  values(state);
  limits();
}
