#include "executors/thread/thread_executor.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executors/in_process/bystander.h"
#include "executors/in_process/in_process_run.h"
#include "executors/thread/service_thread.h"

namespace unirun {
namespace {

// How long a stack may take to be told: whoever tells may wait for the thread that is stuck.
constexpr Duration stack_patience = std::chrono::milliseconds{250};

// From the end of a service to the end of its thread: microseconds, unless a destructor of
// something thread_local takes its time.
constexpr Duration first_look = std::chrono::milliseconds{1};
constexpr Duration last_look = std::chrono::seconds{1};

std::atomic<std::size_t> abandoned_threads{0};

}  // namespace

struct ThreadExecutor::Impl final : InProcessRun::Owner {
  // What the loop keeps of a life.
  struct Life {
    InProcessRun run;
    std::weak_ptr<Service> service;  // The thread's own: it must not die on the loop.
    std::optional<ServiceThread> thread;
    // Set by what comes first, the end of the thread or its abandonment.
    std::shared_ptr<std::atomic<bool>> parted = std::make_shared<std::atomic<bool>>(false);
    TimerId deadline = TimerId::none;
    bool being_ended = false;
    std::string stack;  // As it was when it went silent.

    Life(std::shared_ptr<InProcessWorld> world, Impl& owner, RunObserver& observer,
         const Launch& launch)
        : run(std::move(world), owner, observer, launch) {}
  };
  class LastWord;
  class ThreadMain;

  Impl(const InProcessParts& parts, ThreadExecutorOptions some_options)
      : options(some_options), world(std::make_shared<InProcessWorld>(parts)) {}

  // Calls `function` on the loop, with the executor if it still is there.
  template <class Function>
  static auto on_loop(const std::weak_ptr<Impl*>& executor, Function function) {
    return [executor, function = std::move(function)]() mutable {
      if (const auto impl = executor.lock()) function(**impl);
    };
  }

  [[nodiscard]] Life* find(RunId run) const {
    const auto found = lives.find(run);
    return found == lives.end() ? nullptr : found->second.get();
  }
  [[nodiscard]] std::unique_ptr<Life> take(RunId run);

  void on_unresponsive(RunId run) override;
  void bring_to_an_end(Life& life);
  void on_grace_over(RunId run);
  void abandon(RunId run, std::string stack);
  void on_prepared(RunId run);
  void on_ended(RunId run, ServiceEnd end);
  void join_ended();

  const ThreadExecutorOptions options;
  const std::shared_ptr<InProcessWorld> world;
  std::unordered_map<RunId, std::unique_ptr<Life>> lives;
  std::vector<ServiceThread> ended;  // Whose threads are about to end.
  Duration next_look = first_look;
  TimerId look = TimerId::none;
  Bystander bystander;
  std::shared_ptr<Impl*> alive = std::make_shared<Impl*>(this);  // Last: gone first.
};

// ---- On the service's own thread ----

// Tells the loop how the service ended, whatever way the thread comes to its end.
class ThreadExecutor::Impl::LastWord {
 public:
  LastWord(ThreadMain& thread) : thread_(thread) {}
  ~LastWord();
  LastWord(const LastWord&) = delete;
  LastWord& operator=(const LastWord&) = delete;

  ServiceEnd end{ExitReason::of(ExitKind::exception, "its thread was ended by pthread_exit()")};

 private:
  ThreadMain& thread_;
};

class ThreadExecutor::Impl::ThreadMain {
 public:
  std::weak_ptr<Impl*> executor;
  std::shared_ptr<InProcessWorld> world;
  std::shared_ptr<InProcessContext> context;
  std::shared_ptr<Service> service;
  std::shared_ptr<std::atomic<bool>> parted;
  bool prepares = false;

  void operator()() {
    LastWord word(*this);
    // Its destructor may block, too; so it goes before the last word.
    const auto own = std::exchange(service, nullptr);
    if (prepare(*own, word.end)) run(*own, word.end);
  }

  [[nodiscard]] RunId id() const { return context->launch().run; }

 private:
  // False if it threw: there is nothing to run. Like run(), it lets a thread's forced end pass.
  // What forces it is no C++ exception and has no object, so the C++ runtime gives the handler null
  // for one (__cxa_begin_catch: "no sensible value to return"); gcc's UBSan takes the handler's
  // unused parameter for a reference bound to it. Only that check is off, and only here.
  __attribute__((no_sanitize("null"))) bool prepare(Service& prepared, ServiceEnd& end) {
    if (!prepares) return true;
    try {
      prepared.prepare();
    } catch (const abi::__forced_unwind&) {
      throw;
    } catch (...) {
      end = preparation_failed(std::current_exception());
      return false;
    }
    world->gate.post(on_loop(executor, [run = id()](Impl& impl) { impl.on_prepared(run); }));
    return true;
  }

  __attribute__((no_sanitize("null"))) void run(Service& running, ServiceEnd& end) {
    std::exception_ptr failure;
    try {
      running.run(*context);
    } catch (const abi::__forced_unwind&) {
      throw;
    } catch (...) {
      failure = std::current_exception();
    }
    end = service_end(failure, context->cancellation().is_cancellation_requested());
  }
};

ThreadExecutor::Impl::LastWord::~LastWord() {
  if (thread_.parted->exchange(true)) {  // Abandoned, and this is its late end.
    abandoned_threads.fetch_sub(1);
    return;
  }
  thread_.world->gate.post(
      on_loop(thread_.executor, [run = thread_.id(), told = std::move(end)](Impl& impl) mutable {
        impl.on_ended(run, std::move(told));
      }));
}

// ---- Its end ----

std::unique_ptr<ThreadExecutor::Impl::Life> ThreadExecutor::Impl::take(RunId run) {
  const auto found = lives.find(run);
  if (found == lives.end()) return nullptr;
  std::unique_ptr<Life> life = std::move(found->second);
  lives.erase(found);
  world->loop.cancel_timer(life->deadline);
  return life;
}

void ThreadExecutor::Impl::on_prepared(RunId run) {
  if (Life* life = find(run)) life->run.on_prepared();
}

void ThreadExecutor::Impl::on_unresponsive(RunId run) {
  Life& life = *find(run);
  // Where it hangs is what people want to know; in a moment it may stand elsewhere.
  bystander.call([executor = std::weak_ptr(alive), gate = world, weak = life.service, run] {
    const auto service = weak.lock();
    if (!service) return;
    gate->gate.post(on_loop(executor, [run, stack = service->stack()](Impl& impl) {
      if (Life* hanging = impl.find(run)) hanging->stack = stack;
    }));
  });
  bring_to_an_end(life);
}

void ThreadExecutor::Impl::bring_to_an_end(Life& life) {
  if (std::exchange(life.being_ended, true)) return;
  bystander.call([weak = life.service] {
    if (const auto service = weak.lock()) service->interrupt();
  });
  life.deadline = world->loop.start_timer(world->loop.clock().now() + options.grace,
                                          [this, run = life.run.id()] { on_grace_over(run); });
}

void ThreadExecutor::Impl::on_grace_over(RunId run) {
  Life& life = *find(run);
  bystander.call([executor = std::weak_ptr(alive), gate = world, weak = life.service, run] {
    const auto service = weak.lock();
    std::string stack = service ? service->stack() : std::string();
    gate->gate.post(on_loop(executor, [run, told = std::move(stack)](Impl& impl) mutable {
      impl.abandon(run, std::move(told));
    }));
  });
  life.deadline = world->loop.start_timer(world->loop.clock().now() + stack_patience,
                                          [this, run] { abandon(run, {}); });
}

void ThreadExecutor::Impl::abandon(RunId run, std::string stack) {
  Life* found = find(run);
  if (found == nullptr) return;
  abandoned_threads.fetch_add(1);
  if (found->parted->exchange(true)) {  // It has ended this moment, and on_ended() is coming.
    abandoned_threads.fetch_sub(1);
    return;
  }
  const auto life = take(run);
  life->thread->detach();
  const std::string text =
      fmt::format("ignored its cancellation, and its interruption for {}; its thread is abandoned",
                  format_duration(options.grace));
  world->bus.publish(life->run.path(), Warning{fmt::format("{}; abandoned threads so far: {}", text,
                                                           abandoned_threads.load())});
  life->run.abandon(text, stack.empty() ? std::move(life->stack) : std::move(stack));
}

void ThreadExecutor::Impl::on_ended(RunId run, ServiceEnd end) {
  const auto life = take(run);
  if (!life) return;
  ended.push_back(std::move(*life->thread));
  life->thread.reset();
  next_look = first_look;
  if (end.reason.stacks.empty()) end.reason.stacks = std::move(life->stack);
  // Before the thread is looked after: the observer launches the replacement from here.
  life->run.end(std::move(end));
  world->loop.post(on_loop(alive, [](Impl& impl) { impl.join_ended(); }));
}

void ThreadExecutor::Impl::join_ended() {
  ended.erase(std::remove_if(ended.begin(), ended.end(),
                             [](ServiceThread& thread) { return thread.try_join(); }),
              ended.end());
  if (ended.empty() || look != TimerId::none) return;
  look = world->loop.start_timer(world->loop.clock().now() + next_look, [this] {
    look = TimerId::none;
    join_ended();
  });
  next_look = std::min(next_look * 2, last_look);
}

// ---- The executor ----

ThreadExecutor::ThreadExecutor(const InProcessParts& parts, ThreadExecutorOptions options)
    : impl_(std::make_unique<Impl>(parts, options)) {}

ThreadExecutor::~ThreadExecutor() {
  Impl& impl = *impl_;
  impl.world->loop.cancel_timer(impl.look);
  for (auto& [id, life] : impl.lives) {
    life->run.kill();
    impl.bring_to_an_end(*life);
    impl.world->loop.cancel_timer(life->deadline);
  }
  // The loop is here, and does nothing for a thread any more: none may wait for it.
  impl.world->gate.close();
  const SystemClock clock;
  const Instant deadline = clock.now() + impl.options.grace;
  const auto gone = [](Impl::Life& life) { return life.thread->try_join(); };
  while (!impl.ended.empty() || !impl.lives.empty()) {
    for (auto life = impl.lives.begin(); life != impl.lives.end();) {
      life = gone(*life->second) ? impl.lives.erase(life) : std::next(life);
    }
    impl.ended.erase(std::remove_if(impl.ended.begin(), impl.ended.end(),
                                    [](ServiceThread& thread) { return thread.try_join(); }),
                     impl.ended.end());
    if (clock.now() >= deadline) break;
    if (!impl.ended.empty() || !impl.lives.empty()) {
      static_cast<void>(CancellationToken().wait(first_look));
    }
  }
  for (auto& [id, life] : impl.lives) {
    abandoned_threads.fetch_add(1);
    if (life->parted->exchange(true)) abandoned_threads.fetch_sub(1);
    life->thread->detach();
  }
  for (ServiceThread& thread : impl.ended) thread.detach();
}

LaunchOutcome ThreadExecutor::launch(const Launch& launch, RunObserver& observer) {
  UNIRUN_REQUIRE(launch.service != nullptr && impl_->find(launch.run) == nullptr);
  auto life = std::make_unique<Impl::Life>(impl_->world, *impl_, observer, launch);
  LaunchOutcome outcome;
  const auto fail = [&](const Error& error) {
    outcome.reason = ExitReason::of(ExitKind::start_failed, error.message);
    return outcome;
  };
  auto made = life->run.make_service(ServiceStyle::blocking);
  if (!made) return fail(made.error());
  std::shared_ptr<Service> service = *std::move(made);
  life->service = service;
  const bool prepares = service->needs_preparation();
  Impl::ThreadMain main;
  main.executor = impl_->alive;
  main.world = impl_->world;
  main.context = life->run.context();
  main.service = std::move(service);
  main.parted = life->parted;
  main.prepares = prepares;
  auto thread = ServiceThread::start(launch.id, std::move(main), impl_->options.stack_bytes);
  if (!thread) return fail(thread.error());
  life->thread.emplace(*std::move(thread));
  outcome = life->run.begin(!prepares);
  impl_->lives.emplace(launch.run, std::move(life));
  return outcome;
}

void ThreadExecutor::request_stop(RunId run) {
  if (Impl::Life* life = impl_->find(run)) life->run.request_stop();
}

void ThreadExecutor::kill(RunId run) {
  Impl::Life* life = impl_->find(run);
  if (life == nullptr) return;
  life->run.kill();
  impl_->bring_to_an_end(*life);
}

std::size_t ThreadExecutor::running() const { return impl_->lives.size(); }

std::size_t ThreadExecutor::abandoned() { return abandoned_threads.load(); }

}  // namespace unirun
