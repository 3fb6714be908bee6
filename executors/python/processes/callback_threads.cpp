#include "executors/python/processes/callback_threads.h"

#include <atomic>
#include <cstddef>
#include <utility>

#include "framework/doorbell.h"

namespace unirun::python {

// Shared with the threads, of which one may outlive their owner.
struct CallbackThreads::Alive {
  std::atomic<std::size_t> count{0};
  Doorbell ended;
};

CallbackThreads::CallbackThreads() : alive_(std::make_shared<Alive>()) {}

CallbackThreads::~CallbackThreads() { join(Duration::zero()); }

bool CallbackThreads::start(std::function<void()> body) {
  std::erase_if(threads_, [](ServiceThread& thread) { return thread.try_join(); });
  alive_->count.fetch_add(1);
  auto thread =
      ServiceThread::start("py-callbacks", [alive = alive_, body = std::move(body)]() mutable {
        std::exchange(body, nullptr)();
        alive->count.fetch_sub(1);
        alive->ended.ring();
      });
  if (!thread.ok()) return static_cast<void>(alive_->count.fetch_sub(1)), false;
  threads_.push_back(*std::move(thread));
  return true;
}

void CallbackThreads::join(Duration timeout) {
  const bool have_ended = alive_->ended.wait(timeout, [this] { return alive_->count.load() == 0; });
  for (ServiceThread& thread : threads_) {
    if (have_ended) {
      thread.join();
    } else if (!thread.try_join()) {
      thread.detach();
    }
  }
  threads_.clear();
}

}  // namespace unirun::python
