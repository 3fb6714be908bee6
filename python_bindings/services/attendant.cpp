#include "python_bindings/gil.h"
// gil.h first: it brings Python.h.

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "python_bindings/services/attendant.h"

namespace unirun::bindings {

namespace {

// Between two runs of an errand that was not done by the first, then twice as long each time.
constexpr Duration shortest_pause = std::chrono::milliseconds(2);
constexpr Duration longest_pause = std::chrono::milliseconds(100);

struct Errand {
  std::function<bool()> run;
  Duration pause = shortest_pause;
  Instant due{};

  // Not done yet.
  void put_off() {
    due = SystemClock().now() + pause;
    pause = std::min(2 * pause, longest_pause);
  }
};

}  // namespace

struct Attendant::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Errand> errands;
  std::vector<Errand> later;  // Its thread's own.

  void work();
  [[nodiscard]] std::vector<Errand> take();
  [[nodiscard]] Instant next() const;
};

Instant Attendant::State::next() const {
  Instant earliest = Instant::max();
  for (const Errand& errand : later) earliest = std::min(earliest, errand.due);
  return earliest;
}

// Waits for the next that are to be run.
std::vector<Errand> Attendant::State::take() {
  const auto has_come = [this] { return !errands.empty(); };
  std::unique_lock lock(mutex);
  if (later.empty()) {
    changed.wait(lock, has_come);
  } else {
    changed.wait_until(lock, next(), has_come);
  }
  std::vector<Errand> now = std::exchange(errands, {});
  lock.unlock();
  const Instant moment = SystemClock().now();
  const auto due = std::partition(later.begin(), later.end(),
                                  [moment](const Errand& errand) { return errand.due > moment; });
  std::move(due, later.end(), std::back_inserter(now));
  later.erase(due, later.end());
  return now;
}

void Attendant::State::work() {
  ::pthread_setname_np(::pthread_self(), "unirun-python");
  for (;;) {
    std::vector<Errand> now = take();
    if (!Py_IsInitialized()) continue;  // The program is at its end: nobody is to be told.
    const Gil gil;
    for (Errand& errand : now) {
      if (errand.run()) continue;
      errand.put_off();
      later.push_back(std::move(errand));
    }
    now.clear();
  }
}

Attendant::Attendant() : state_(new State) {
  std::thread([state = state_] { state->work(); }).detach();
}

// Another one after a fork: threads do not come along.
Attendant& Attendant::of_process() {
  static std::mutex mutex;
  static pid_t owner = 0;
  static Attendant* attendant = nullptr;
  const std::lock_guard lock(mutex);
  if (owner != ::getpid()) {
    owner = ::getpid();
    attendant = new Attendant;
  }
  return *attendant;
}

void Attendant::post(std::function<void()> errand) {
  post_until([errand = std::move(errand)] { return errand(), true; });
}

void Attendant::post_until(std::function<bool()> errand) {
  const std::lock_guard lock(state_->mutex);
  state_->errands.push_back({std::move(errand)});
  state_->changed.notify_one();
}

bool Attendant::run(std::function<void()> errand, Duration timeout) {
  struct Visit {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  auto visit = std::make_shared<Visit>();
  post([visit, errand = std::move(errand)] {
    errand();
    const std::lock_guard lock(visit->mutex);
    visit->done = true;
    visit->changed.notify_all();
  });
  std::unique_lock lock(visit->mutex);
  return visit->changed.wait_for(lock, timeout, [&] { return visit->done; });
}

}  // namespace unirun::bindings
