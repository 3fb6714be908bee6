#include "executors/async/async_executor.h"

#include <fmt/format.h>

#include <exception>
#include <optional>
#include <unordered_map>
#include <utility>

#include "executors/async/blocking_watch.h"
#include "executors/async/service_occupant.h"
#include "executors/in_process/in_process_run.h"
#include "framework/require.h"
#include "framework/task.h"

namespace unirun {

struct AsyncExecutor::Impl final : InProcessRun::Owner {
  // One service, from launch to end. Its parts die in the order of what depends on what: the
  // coroutine, then the service, then the context.
  class Life final : public TaskObserver {
   public:
    Life(Impl& executor, RunObserver& observer, const Launch& launch)
        : run(executor.world, executor, observer, launch), executor_(executor) {}

    // Up to where it first waits; true if it has ended already.
    bool begin();

    // REQUIRES: it has ended.
    [[nodiscard]] ServiceEnd outcome() const;

    // Destroys the coroutine where it waits, and the service.
    void destroy() {
      task_ = Task<>();
      service.reset();
    }

    InProcessRun run;
    std::shared_ptr<ServiceOccupant> service;
    TimerId deadline = TimerId::none;
    enum class Stage : std::uint8_t { preparing, running, ended } stage = Stage::preparing;
    bool interrupted = false;

   private:
    std::coroutine_handle<> on_task_ended() noexcept override;

    bool beginning_ = false;
    Impl& executor_;
    std::exception_ptr refusal_;  // Of run_async() itself, without a task.
    Task<> task_;
  };
  using Lives = std::unordered_map<RunId, std::unique_ptr<Life>>;

  Impl(const InProcessParts& parts, AsyncExecutorOptions some_options)
      : options(some_options), world(std::make_shared<InProcessWorld>(parts)) {}

  // Calls `function` in a turn to come, if the executor is still there.
  template <class Function>
  void later(Function function) {
    world->loop.post(if_alive(std::move(function)));
  }
  template <class Function>
  auto if_alive(Function function) {
    return [weak = std::weak_ptr(alive), function = std::move(function)] {
      if (weak.lock()) function();
    };
  }

  [[nodiscard]] Life* find(RunId run) const {
    const auto found = lives.find(run);
    return found == lives.end() ? nullptr : found->second.get();
  }
  std::unique_ptr<Life> take(RunId run);

  [[nodiscard]] LaunchOutcome launch(const Launch& launch, RunObserver& observer);
  [[nodiscard]] std::optional<LaunchOutcome> judge_brief(const Life& life, LaunchOutcome outcome);
  void watch_blocking(const Life& life);
  void on_kept_loop(RunId run, Duration duration);
  void prepare(Life& life);
  void on_prepared(RunId run, const std::exception_ptr& failure);
  void finish(RunId run);
  void end(RunId run, ServiceEnd how);
  void on_unresponsive(RunId run) override;
  void end_by_force(RunId run);
  void give_up(RunId run);

  const AsyncExecutorOptions options;
  const std::shared_ptr<InProcessWorld> world;
  Lives lives;
  Lives given_up;  // Whose coroutines may still go on.
  std::unique_ptr<BlockingWatch> blocking;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);  // Last: gone first.
};

// ---- One life ----

bool AsyncExecutor::Impl::Life::begin() {
  stage = Stage::running;
  const LoopSeat::Taken seat(executor_.world->loop.seat(), service);
  beginning_ = true;
  try {
    task_ = service->service().run_async(*run.context());
    if (!task_.valid()) {
      throw ServiceEnded(ExitReason::of(ExitKind::start_failed, "run_async() returned no task"));
    }
  } catch (...) {
    refusal_ = std::current_exception();
    stage = Stage::ended;
  }
  if (!refusal_) task_.start(*this);
  beginning_ = false;
  return stage == Stage::ended;
}

// Told in a turn to come, whoever resumed it: what follows may launch the next life, and destroys
// the coroutine that is still on the stack here.
std::coroutine_handle<> AsyncExecutor::Impl::Life::on_task_ended() noexcept {
  stage = Stage::ended;
  if (!beginning_) executor_.later([&executor = executor_, id = run.id()] { executor.finish(id); });
  return std::noop_coroutine();
}

ServiceEnd AsyncExecutor::Impl::Life::outcome() const {
  return service_end(refusal_ ? refusal_ : task_.failure(),
                     run.context()->cancellation().is_cancellation_requested());
}

// ---- Beginning ----

LaunchOutcome AsyncExecutor::Impl::launch(const Launch& launch, RunObserver& observer) {
  auto made = std::make_unique<Life>(*this, observer, launch);
  Life& life = *made;
  LaunchOutcome outcome;
  auto service = life.run.make_service(ServiceStyle::async);
  if (!service) {
    outcome.reason = ExitReason::of(ExitKind::start_failed, service.error().message);
    return outcome;
  }
  life.service = std::make_shared<ServiceOccupant>(life.run.context(), *std::move(service));
  watch_blocking(life);
  lives.emplace(launch.run, std::move(made));
  if (life.service->service().needs_preparation()) {
    prepare(life);
    return life.run.begin(false);
  }
  outcome = life.run.begin(true);
  if (!life.begin()) return outcome;
  if (auto nothing = judge_brief(life, outcome)) {
    take(launch.run)->destroy();
    return *std::move(nothing);
  }
  if (outcome.state == LaunchOutcome::State::running) outcome.state = LaunchOutcome::State::over;
  later([this, run = launch.run] { finish(run); });
  return outcome;
}

// Of one that ended before it waited for anything: an outcome that nothing follows, or nothing.
std::optional<LaunchOutcome> AsyncExecutor::Impl::judge_brief(const Life& life,
                                                              LaunchOutcome outcome) {
  ServiceEnd how = life.outcome();
  if (how.declined) {
    outcome.state = LaunchOutcome::State::ignored;
  } else if (how.reason.kind == ExitKind::start_failed) {
    outcome.state = LaunchOutcome::State::failed;
    outcome.reason = std::move(how.reason);
  } else {
    return std::nullopt;
  }
  return outcome;
}

void AsyncExecutor::Impl::watch_blocking(const Life& life) {
  if (!blocking) {
    blocking = std::make_unique<BlockingWatch>(
        world, options.blocked_after,
        [this](RunId run, Duration duration) { on_kept_loop(run, duration); });
  }
  const auto* limit = std::get_if<LoopLagLiveness>(&life.run.spec().liveness);
  if (limit == nullptr) return;
  blocking->set_limit(life.run.id(), limit->timeout, [weak = std::weak_ptr(life.service)] {
    if (const auto service = weak.lock()) service->service().interrupt();
  });
}

void AsyncExecutor::Impl::on_kept_loop(RunId run, Duration duration) {
  Life* life = find(run);
  if (life == nullptr || life->stage == Life::Stage::ended) return;
  life->run.become_unresponsive("loop_lag", "kept the loop for " + describe_duration(duration),
                                duration);
}

void AsyncExecutor::Impl::prepare(Life& life) {
  auto failure = std::make_shared<std::exception_ptr>();
  world->loop.run_blocking(
      [service = life.service, failure] {
        try {
          service->service().prepare();
        } catch (...) {
          *failure = std::current_exception();
        }
      },
      if_alive([this, run = life.run.id(), failure] { on_prepared(run, *failure); }));
}

void AsyncExecutor::Impl::on_prepared(RunId run, const std::exception_ptr& failure) {
  Life* life = find(run);
  if (life == nullptr) return;  // Killed meanwhile.
  if (failure) return end(run, preparation_failed(failure));
  if (life->run.stop_requested()) return end(run, {ExitReason::shutdown(), false});
  life->run.on_prepared();
  if (life->begin()) finish(run);
}

// ---- Its end ----

std::unique_ptr<AsyncExecutor::Impl::Life> AsyncExecutor::Impl::take(RunId run) {
  const auto found = lives.find(run);
  if (found == lives.end()) return nullptr;
  std::unique_ptr<Life> life = std::move(found->second);
  lives.erase(found);
  world->loop.cancel_timer(life->deadline);
  if (std::holds_alternative<LoopLagLiveness>(life->run.spec().liveness)) {
    blocking->clear_limit(run);
  }
  return life;
}

void AsyncExecutor::Impl::finish(RunId run) {
  if (const Life* life = find(run)) return end(run, life->outcome());
  if (auto late = given_up.extract(run)) late.mapped()->destroy();
}

void AsyncExecutor::Impl::end(RunId run, ServiceEnd how) {
  const auto life = take(run);
  life->destroy();
  life->run.end(std::move(how));  // The observer launches the replacement from here.
}

void AsyncExecutor::Impl::on_unresponsive(RunId run) {
  Life& life = *find(run);
  life.deadline = world->loop.start_timer(world->loop.clock().now() + options.grace,
                                          [this, run] { end_by_force(run); });
}

void AsyncExecutor::Impl::end_by_force(RunId run) {
  Life* life = find(run);
  if (life == nullptr || life->stage == Life::Stage::ended) return;  // finish() is on its way.
  Service& service = life->service->service();
  const bool survives = life->stage == Life::Stage::running && service.survives_its_coroutine();
  if (!survives) return end(run, {ExitReason::shutdown(), false});
  if (std::exchange(life->interrupted, true)) return;
  world->loop.cancel_timer(life->deadline);
  life->deadline = world->loop.start_timer(world->loop.clock().now() + options.grace,
                                           [this, run] { give_up(run); });
  service.interrupt();
}

// Its coroutine stays, for whatever may still resume it.
void AsyncExecutor::Impl::give_up(RunId run) {
  if (find(run)->stage == Life::Stage::ended) return;  // This moment: finish() is on its way.
  auto life = take(run);
  const std::string text = fmt::format("ignored its cancellation, and its interruption for {}",
                                       format_duration(options.grace));
  world->bus.publish(life->run.path(), Warning{text + "; it is given up, and may still go on"});
  std::string stack = life->service->stack();
  Life& lost = *given_up.emplace(run, std::move(life)).first->second;
  lost.run.abandon(text, std::move(stack));
}

// ---- The executor ----

AsyncExecutor::AsyncExecutor(const InProcessParts& parts, AsyncExecutorOptions options)
    : impl_(std::make_unique<Impl>(parts, options)) {}

AsyncExecutor::~AsyncExecutor() {
  impl_->alive.reset();
  impl_->blocking.reset();
  // Before services die: one may wait for a thread of its own, which must not wait for the loop.
  impl_->world->gate.close();
  for (Impl::Lives* lives : {&impl_->lives, &impl_->given_up}) {
    for (auto& [run, life] : *lives) {
      impl_->world->loop.cancel_timer(life->deadline);
      life->destroy();
    }
  }
}

LaunchOutcome AsyncExecutor::launch(const Launch& launch, RunObserver& observer) {
  UNIRUN_REQUIRE(launch.service != nullptr && impl_->find(launch.run) == nullptr);
  return impl_->launch(launch, observer);
}

void AsyncExecutor::request_stop(RunId run) {
  if (Impl::Life* life = impl_->find(run)) life->run.request_stop();
}

// In a turn to come: it may be its own coroutine that calls.
void AsyncExecutor::kill(RunId run) {
  Impl::Life* life = impl_->find(run);
  if (life == nullptr) return;
  life->run.kill();
  impl_->later([impl = impl_.get(), run] { impl->end_by_force(run); });
}

std::size_t AsyncExecutor::running() const { return impl_->lives.size(); }

const LagHistogram* AsyncExecutor::loop_lag() const {
  return impl_->blocking ? &impl_->blocking->lag() : nullptr;
}

}  // namespace unirun
