#include "framework/event_loop.h"

#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "framework/descriptor_watches.h"
#include "framework/inbox.h"
#include "framework/require.h"
#include "framework/timer_queue.h"

// Every function that libuv calls is noexcept: an exception that leaves a callback ends the program
// where it was thrown, with its type, its text and its stack, and never unwinds through C.

namespace unirun {
namespace {

// libuv fails here only for want of descriptors or memory, or on a broken promise of the caller.
void check(int result, const char* what) noexcept {
  if (result >= 0) return;
  std::fprintf(stderr, "event loop: %s: %s\n", what, uv_strerror(result));
  std::abort();
}

// The first callback after a wait begins a turn: libuv has no hook between the two.
struct Turn {
  TurnObserver* observer = nullptr;
  bool begun = false;

  void begin() noexcept {
    if (!std::exchange(begun, true) && observer != nullptr) observer->on_turn_began();
  }
  void end() noexcept {
    if (std::exchange(begun, false) && observer != nullptr) observer->on_turn_ended();
  }
  static Turn& of(const uv_loop_t* loop) { return *static_cast<Turn*>(loop->data); }
};

// A watch of a signal. Its function goes as soon as the watch ends, or when it returns if it has
// ended its own watch; the rest when libuv has let go of the handle.
class WatchedSignal {
 public:
  explicit WatchedSignal(std::function<void()> on_signal) : on_signal_(std::move(on_signal)) {
    handle.data = this;
  }

  void call() noexcept {
    Turn::of(handle.loop).begin();
    calling_ = true;
    on_signal_();
    calling_ = false;
    if (ended_) on_signal_ = nullptr;
  }

  void end() noexcept {
    ended_ = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&handle), [](uv_handle_t* closed) noexcept {
      delete static_cast<WatchedSignal*>(closed->data);
    });
    if (!calling_) on_signal_ = nullptr;
  }

  uv_signal_t handle{};

 private:
  std::function<void()> on_signal_;
  bool calling_ = false;
  bool ended_ = false;
};

// Work for a thread of libuv's pool. The threads (four, or UV_THREADPOOL_SIZE) are made at first
// use. We do not set that variable: the environment is our children's too, and setenv() is no call
// for a program with threads.
struct BlockingWork {
  uv_work_t request{};
  std::function<void()> work;
  std::function<void()> done;
  std::unordered_set<BlockingWork*>* pending = nullptr;
  const bool* loop_ends = nullptr;
};

}  // namespace

struct EventLoop::Impl {
  uv_loop_t loop{};
  uv_async_t wake{};       // Of another thread.
  uv_idle_t go_on{};       // Active when the next turn is to come at once: no wait, no eventfd.
  uv_poll_t alarm{};       // On `alarm_clock`, which rings for the first deadline of all.
  uv_poll_t ready{};       // On `watches`.
  uv_prepare_t prepare{};  // Sets the alarm, once a turn, just before the loop waits.
  int alarm_clock = -1;    // A timerfd: libuv's timers know whole milliseconds only.
  const Clock& clock;

  TimerQueue timers;
  std::vector<TimerId> due;  // Kept for its memory.
  Instant armed_for = Instant::max();
  bool alarmed = true;  // Not in run_ready(), which fires what is due by itself, once.

  Inbox<std::function<void()>> posted;
  std::atomic<std::thread::id> thread{std::this_thread::get_id()};

  // A watch may outlive its loop: its Registration then finds `live` gone.
  std::shared_ptr<Impl*> live = std::make_shared<Impl*>(this);
  std::unordered_set<WatchedSignal*> signals;
  std::unordered_set<BlockingWork*> blocking;
  bool ends = false;

  Turn turn;
  TurnHook* hook = nullptr;
  DescriptorWatches watches;  // Ends first: what it drops may use the rest.

  explicit Impl(const Clock& a_clock);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void fire_due();
  void on_alarm();
  void arm();
  void prepare_to_wait();
  void do_not_wait();
  void run_posted();
  void post(std::function<void()> function);
};

namespace {

// The loop that this thread runs: what only its own thread may do is told by this, not by an id
// that another thread may be about to write.
thread_local EventLoop* running_here = nullptr;

class RunningHere {
 public:
  explicit RunningHere(EventLoop* loop) : outer_(std::exchange(running_here, loop)) {}
  ~RunningHere() { running_here = outer_; }
  RunningHere(const RunningHere&) = delete;
  RunningHere& operator=(const RunningHere&) = delete;

 private:
  EventLoop* outer_;
};

}  // namespace

EventLoop::Impl::Impl(const Clock& a_clock) : clock(a_clock) {
  check(uv_loop_init(&loop), "uv_loop_init");
  loop.data = &turn;
  check(uv_idle_init(&loop, &go_on), "uv_idle_init");
  check(uv_async_init(
            &loop, &wake,
            [](uv_async_t* async) noexcept { static_cast<Impl*>(async->data)->run_posted(); }),
        "uv_async_init");
  alarm_clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  check(alarm_clock < 0 ? -errno : 0, "timerfd_create");
  check(uv_poll_init(&loop, &alarm, alarm_clock), "uv_poll_init");
  check(uv_poll_init(&loop, &ready, watches.descriptor()), "uv_poll_init");
  check(uv_prepare_init(&loop, &prepare), "uv_prepare_init");
  wake.data = go_on.data = alarm.data = ready.data = prepare.data = this;
  check(uv_poll_start(&alarm, UV_READABLE,
                      [](uv_poll_t* handle, int, int) noexcept {
                        static_cast<Impl*>(handle->data)->on_alarm();
                      }),
        "uv_poll_start");
  const auto on_ready = [](uv_poll_t* handle, int, int) noexcept {
    auto& impl = *static_cast<Impl*>(handle->data);
    impl.turn.begin();
    impl.watches.tell();
  };
  check(uv_poll_start(&ready, UV_READABLE, on_ready), "uv_poll_start");
  check(uv_prepare_start(&prepare,
                         [](uv_prepare_t* handle) noexcept {
                           static_cast<Impl*>(handle->data)->prepare_to_wait();
                         }),
        "uv_prepare_start");
}

EventLoop::Impl::~Impl() {
  ends = true;
  live.reset();
  for (WatchedSignal* watched : std::exchange(signals, {})) watched->end();
  for (BlockingWork* work : blocking) uv_cancel(reinterpret_cast<uv_req_t*>(&work->request));
  uv_close(reinterpret_cast<uv_handle_t*>(&wake), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&go_on), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&alarm), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&ready), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare), nullptr);
  uv_run(&loop, UV_RUN_DEFAULT);  // Until every handle is closed and running work has ended.
  check(uv_loop_close(&loop), "uv_loop_close");
  ::close(alarm_clock);

  std::exchange(timers, TimerQueue{});  // What is dropped may own what cancels again.
}

void EventLoop::Impl::fire_due() {
  turn.begin();
  const Instant now = clock.now();
  std::vector<TimerId> batch = std::exchange(due, {});  // A callback may run the loop.
  for (TimerId id; (id = timers.take_due(now)) != TimerId::none;) batch.push_back(id);
  for (const TimerId id : batch) {
    if (const auto on_due = timers.claim(id)) on_due();
  }
  batch.clear();
  due = std::move(batch);
}

void EventLoop::Impl::on_alarm() {
  std::uint64_t rings = 0;
  (void)!::read(alarm_clock, &rings, sizeof rings);  // Silences it.
  armed_for = Instant::max();
  if (alarmed) fire_due();
}

void EventLoop::Impl::arm() {
  const Instant next = timers.next_deadline();
  if (next == armed_for || !alarmed) return;
  armed_for = next;
  itimerspec alarm_time{};  // All zero: never.
  if (next != Instant::max()) {
    // Counted from a clock read before, so that it does not ring early; and zero would be never.
    const auto wait = std::max(next - clock.now(), Duration{1}).count();
    alarm_time.it_value = {static_cast<time_t>(wait / 1'000'000'000),
                           static_cast<long>(wait % 1'000'000'000)};
  }
  check(timerfd_settime(alarm_clock, 0, &alarm_time, nullptr) < 0 ? -errno : 0, "timerfd_settime");
}

void EventLoop::Impl::prepare_to_wait() {
  if (hook != nullptr) {
    turn.begin();
    switch (hook->before_wait()) {
      case AfterTurn::wait: break;
      case AfterTurn::go_on: do_not_wait(); break;
      case AfterTurn::leave: uv_stop(&loop); break;
    }
  }
  arm();
  turn.end();
}

void EventLoop::Impl::do_not_wait() {
  const auto on_idle = [](uv_idle_t* idle) noexcept {
    uv_idle_stop(idle);
    static_cast<Impl*>(idle->data)->run_posted();
  };
  check(uv_idle_start(&go_on, on_idle), "uv_idle_start");
}

void EventLoop::Impl::post(std::function<void()> function) {
  if (!posted.push(std::move(function)) || ends) return;
  if (running_here != nullptr && running_here->impl_.get() == this) return do_not_wait();
  check(uv_async_send(&wake), "uv_async_send");
}

void EventLoop::Impl::run_posted() {
  turn.begin();
  posted.drain([](std::function<void()>&& function) { function(); });
}

EventLoop::EventLoop(const Clock& clock) : clock_(clock), impl_(std::make_unique<Impl>(clock)) {}
EventLoop::~EventLoop() = default;

void EventLoop::run() {
  const RunningHere here(this);
  impl_->thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
  uv_run(&impl_->loop, UV_RUN_DEFAULT);
}

void EventLoop::run_ready() {
  const RunningHere here(this);
  impl_->thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
  impl_->fire_due();
  impl_->alarmed = false;
  uv_run(&impl_->loop, UV_RUN_NOWAIT);
  impl_->alarmed = true;
  impl_->arm();  // For who waits for the descriptor.
}

int EventLoop::descriptor() const { return uv_backend_fd(&impl_->loop); }

bool EventLoop::wants_turn() const { return uv_backend_timeout(&impl_->loop) == 0; }

void EventLoop::stop() {
  post([this] { uv_stop(&impl_->loop); });
}

void EventLoop::post(std::function<void()> function) {
  UNIRUN_REQUIRE(function != nullptr);
  impl_->post(std::move(function));
}

TimerId EventLoop::start_timer(Instant deadline, std::function<void()> on_due) {
  return impl_->timers.start(deadline, std::move(on_due));
}

void EventLoop::cancel_timer(TimerId timer) { impl_->timers.cancel(timer); }

Watch EventLoop::watch(int descriptor, Interest interest, std::function<void(Interest)> on_ready) {
  Result<Watch> watch = try_watch(descriptor, interest, std::move(on_ready));
  if (watch) return *std::move(watch);
  std::fprintf(stderr, "event loop: %s\n", watch.error().message.c_str());
  std::abort();
}

Result<Watch> EventLoop::try_watch(int descriptor, Interest interest,
                                   std::function<void(Interest)> on_ready) {
  UNIRUN_REQUIRE(on_ready != nullptr && !impl_->ends);
  return impl_->watches.add(descriptor, interest, std::move(on_ready));
}

Watch EventLoop::watch_signal(int signal_number, std::function<void()> on_signal) {
  UNIRUN_REQUIRE(on_signal != nullptr && !impl_->ends);
  auto* watched = new WatchedSignal(std::move(on_signal));
  check(uv_signal_init(&impl_->loop, &watched->handle), "uv_signal_init");
  const auto on_event = [](uv_signal_t* handle, int) noexcept {
    static_cast<WatchedSignal*>(handle->data)->call();
  };
  check(uv_signal_start(&watched->handle, on_event, signal_number), "watch a signal");
  impl_->signals.insert(watched);
  return Watch([watched, weak = std::weak_ptr<Impl*>(impl_->live)] {
    const auto impl = weak.lock();
    if (!impl) return;  // The loop has ended, and this watch with it.
    (*impl)->signals.erase(watched);
    watched->end();
  });
}

void EventLoop::run_blocking(std::function<void()> work, std::function<void()> done) {
  UNIRUN_REQUIRE(work != nullptr && !impl_->ends);
  auto* blocking =
      new BlockingWork{{}, std::move(work), std::move(done), &impl_->blocking, &impl_->ends};
  blocking->request.data = blocking;
  impl_->blocking.insert(blocking);
  const auto run = [](uv_work_t* request) noexcept {
    static_cast<BlockingWork*>(request->data)->work();
  };
  const auto after = [](uv_work_t* request, int) noexcept {
    const std::unique_ptr<BlockingWork> self(static_cast<BlockingWork*>(request->data));
    Turn::of(request->loop).begin();
    self->pending->erase(self.get());
    if (self->done && !*self->loop_ends) self->done();
  };
  check(uv_queue_work(&impl_->loop, &blocking->request, run, after), "uv_queue_work");
}

void EventLoop::wake() { check(uv_async_send(&impl_->wake), "uv_async_send"); }

void EventLoop::set_turn_hook(TurnHook* hook) { impl_->hook = hook; }

void EventLoop::observe_turns(TurnObserver* observer) {
  impl_->turn.observer = observer;
  if (observer != nullptr && impl_->turn.begun) observer->on_turn_began();
}

EventLoop* EventLoop::current() { return running_here; }

bool EventLoop::in_loop_thread() const {
  return impl_->thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

}  // namespace unirun
