#include "executors/in_process/bystander.h"

#include <deque>
#include <mutex>
#include <utility>

#include "executors/thread/service_thread.h"
#include "framework/doorbell.h"

namespace unirun {

struct Bystander::State {
  std::mutex mutex;
  std::deque<std::function<void()>> jobs;  // Guarded by `mutex`, and so is `at_work`.
  bool at_work = false;
  Doorbell rest;

  void work();
  [[nodiscard]] bool is_at_work() {
    const std::lock_guard lock(mutex);
    return at_work;
  }
};

void Bystander::State::work() {
  for (;;) {
    std::function<void()> job;
    {
      const std::lock_guard lock(mutex);
      if (jobs.empty()) {
        at_work = false;
        break;
      }
      job = std::move(jobs.front());
      jobs.pop_front();
    }
    job();
  }
  rest.ring();
}

Bystander::Bystander() : state_(std::make_shared<State>()) {}

Bystander::~Bystander() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->jobs.clear();
  }
  state_->rest.wait(patience, [this] { return !state_->is_at_work(); });
}

void Bystander::call(std::function<void()> job) {
  const std::lock_guard lock(state_->mutex);
  state_->jobs.push_back(std::move(job));
  if (state_->at_work) return;
  auto thread = ServiceThread::start("unirun-bystand", [state = state_] { state->work(); });
  if (!thread) return state_->jobs.clear();
  thread->detach();
  state_->at_work = true;
}

}  // namespace unirun
