#include "python_bindings/gil.h"
// gil.h first: it brings Python.h.

#include <pthread.h>
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "python_bindings/services/attendant.h"

namespace unirun::bindings {

struct Attendant::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::function<void()>> errands;

  void work();
};

void Attendant::State::work() {
  ::pthread_setname_np(::pthread_self(), "unirun-python");
  for (;;) {
    std::vector<std::function<void()>> now;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return !errands.empty(); });
      now.swap(errands);
    }
    if (!Py_IsInitialized()) continue;  // The program is at its end: nobody is to be told.
    const Gil gil;
    for (const auto& errand : now) errand();
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
  const std::lock_guard lock(state_->mutex);
  state_->errands.push_back(std::move(errand));
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
