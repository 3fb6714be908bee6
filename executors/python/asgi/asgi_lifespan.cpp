#include "executors/python/asgi/asgi_lifespan.h"

#include <fmt/format.h>

#include <utility>

#include "executors/python/asgi/asgi_dicts.h"
#include "executors/python/runtime.h"

namespace unirun::python {
namespace {

using Type = AsgiEvent::Type;

// What is settled by whoever has the share.
class Promise final : public Outcome<void> {
 public:
  void run() noexcept override {}  // It is never queued.

  [[nodiscard]] static future<void> in(AsgiShare<void>& share) {
    const Shared<Outcome<void>> promise(new Promise);
    share.set(promise);
    return future<void>(promise);
  }
};

Error told(const AsgiEvent& event) {
  return {.code = Errc::python_exception,
          .message = fmt::format("'{}' of the ASGI application: {}", to_string(event.type),
                                 event.reason.empty() ? "it does not say why" : event.reason)};
}

}  // namespace

future<void> AsgiLifespan::start() {
  future<void> started = Promise::in(startup_);
  auto* const task = new AsgiTask<void>(shared_from_this(), application()->home());
  task_.set(Shared<Outcome<void>>(task));
  task->add_owner();
  Runtime::get().enqueue(Shared<TaskState>(task));
  return started;
}

future<void> AsgiLifespan::shut_down() {
  future<void> ended = Promise::in(shutdown_);
  std::function<void()> go_on;
  bool is_over = false;
  std::optional<Error> error;
  {
    const std::lock_guard lock(mutex_);
    is_to_end_ = true;
    go_on.swap(go_on_);
    is_over = is_over_;
    error = error_;
  }
  if (is_over)
    shutdown_.settle(Ending::executed, error ? Result<void>(*std::move(error)) : Result<void>());
  if (go_on) go_on();
  return ended;
}

// ---- What the application does ----

Reference AsgiLifespan::scope(const AsgiWords& words) {
  state_ = Ref::steal(PyDict_New());
  return state_ ? lifespan_dict(words, state_.get()) : Reference();
}

std::optional<AsgiEvent> AsgiLifespan::next() {
  if (!std::exchange(has_begun_, true)) return AsgiEvent{.type = Type::lifespan_startup};
  const std::lock_guard lock(mutex_);
  if (!is_to_end_ || std::exchange(has_ended_, true)) return std::nullopt;
  return AsgiEvent{.type = Type::lifespan_shutdown};
}

bool AsgiLifespan::wait_for_next(std::function<void()> go_on) {
  const std::lock_guard lock(mutex_);
  if (is_to_end_ && !has_ended_) return false;
  go_on_ = std::move(go_on);
  return true;
}

bool AsgiLifespan::put(AsgiEvent event) {
  switch (event.type) {
    case Type::lifespan_startup_complete:
      application()->set_state(state_);
      startup_.settle(Ending::executed, {});
      break;
    case Type::lifespan_startup_failed: startup_.settle(Ending::failed, told(event)); break;
    case Type::lifespan_shutdown_complete: shutdown_.settle(Ending::executed, {}); break;
    case Type::lifespan_shutdown_failed: {
      const Error error = told(event);
      {
        const std::lock_guard lock(mutex_);
        error_ = error;
      }
      shutdown_.settle(Ending::failed, error);
      break;
    }
    default: break;
  }
  return false;
}

// ---- The end ----

// Before it has started: it knows of no lifespan, and there is nothing to do for it.
void AsgiLifespan::finish(End end) noexcept {
  const bool is_cancelled = end.how == CoroutineEnd::cancelled;
  const bool has_started = protocol().has_begun();
  const Result<void> outcome =
      end.error && end.how != CoroutineEnd::returned && (has_started || is_cancelled)
          ? Result<void>(*end.error)
          : Result<void>();
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
    if (!outcome.ok()) error_ = outcome.error();
  }
  // That holds this one, too.
  if (const auto application = take_application()) application->set_state({});
  startup_.settle(end.ending(), outcome);
  shutdown_.settle(end.ending(), outcome);
  task_.settle(end.ending(), outcome);
}

void AsgiLifespan::fail(const Error& error) noexcept {
  static_cast<void>(task_.take());
  finish(
      {.how = error.code == Errc::python_exception ? CoroutineEnd::raised : CoroutineEnd::cancelled,
       .error = error});
}

}  // namespace unirun::python
