#include "executors/python/processes/process_pool.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "executors/python/tasks/own_thread.h"
namespace unirun::python {
namespace {

// So long processes have to end once the pool does.
constexpr Duration farewell = std::chrono::seconds(2);

// While calls wait: whether each process has waited for this one so often that there shall be one
// more.
constexpr Duration look_every = std::chrono::milliseconds(50);
constexpr unsigned looks_before_more = 2;
// So many times the size are there at most, for calls that are not nested.
constexpr std::size_t crowd = 8;

Error was_shut_down() {
  return {.code = Errc::cancelled, .message = "the executor was shut down before it had ended"};
}

}  // namespace

Result<std::unique_ptr<ProcessPool>> ProcessPool::start(Options options) {
  std::unique_ptr<ProcessPool> pool(new ProcessPool(std::move(options)));
  auto thread = ServiceThread::start("py-processes", [raw = pool.get()] {
    const OwnThread mark;
    raw->live();
  });
  if (!thread.ok()) return Error{.code = Errc::unsupported, .message = thread.error().message};
  pool->thread_.emplace(std::move(*thread));
  return pool;
}

ProcessPool::~ProcessPool() {
  if (!thread_) return;
  loop_.post([this] { close(); });
  thread_->join();
}

CallRunner::Cancel ProcessPool::run(CallSpec call, OnDone on_done) {
  const std::uint64_t id = last_id_.fetch_add(1) + 1;
  // A function object is copied, and a call may be large: it goes along in one place.
  auto order = std::make_shared<Order>();
  order->id = id;
  order->call = Array{std::move(call.module), std::move(call.function),
                      std::move(call.args).values(), std::move(call.kwargs)};
  order->on_done = std::move(on_done);
  order->is_nested = CallingProcess::current_id() != 0;
  loop_.post([this, order] {
    if (closing_) return order->on_done(was_shut_down());
    // Before what may come to wait for the same.
    waiting_.insert(
        order->is_nested ? std::ranges::find(waiting_, false, &Order::is_nested) : waiting_.end(),
        std::move(*order));
    assign();
  });
  return [this, id] { loop_.post([this, id] { cancel(id); }); };
}

// ---- Thread: the pool's own ----

void ProcessPool::live() {
  loop_.run();
  seats_.clear();
  callback_threads_.join(farewell);
}

void ProcessPool::assign() {
  while (!waiting_.empty()) {
    Seat* seat = find_seat();
    if (seat == nullptr && !may_add_seat()) return look_again();
    Order order = std::move(waiting_.front());
    waiting_.pop_front();
    if (seat == nullptr) {
      const auto added = add_seat();
      if (!added) {
        order.on_done(added.error());
        continue;
      }
      seat = *added;
    }
    begin(*seat, std::move(order));
  }
}

// Processes that all wait for functions of this one may wait for what waits for them: then there is
// one more. Who goes on soon is not meant. It cannot be known of every function whether it waits
// for that, and one that is only slow is not to fill the machine.
bool ProcessPool::may_add_seat() const {
  if (seats_.size() < options_.size) return true;
  if (!waiting_.front().is_nested && seats_.size() >= crowd * options_.size) return false;
  return std::ranges::all_of(
      seats_, [](const auto& seat) { return seat->called_back >= looks_before_more; });
}

void ProcessPool::look_again() {
  if (look_ != TimerId::none) return;
  look_ = loop_.start_timer(clock_.now() + look_every, [this] {
    look_ = TimerId::none;
    for (const auto& seat : seats_)
      seat->called_back = seat->process->calls_back() ? seat->called_back + 1 : 0;
    if (!closing_) assign();
  });
}

void ProcessPool::dismiss_if_too_many(Seat& seat) {
  if (closing_ || seats_.size() <= options_.size || !waiting_.empty()) return;
  seat.is_leaving = true;
  seat.process->dismiss(was_shut_down());
}

// One that has nothing to do; null: there is none.
ProcessPool::Seat* ProcessPool::find_seat() {
  const auto found = std::ranges::find_if(
      seats_, [](const auto& seat) { return seat->order == 0 && !seat->is_leaving; });
  return found != seats_.end() ? found->get() : nullptr;
}

Result<ProcessPool::Seat*> ProcessPool::add_seat() {
  auto seat = std::make_unique<Seat>();
  Seat* const raw = seat.get();
  auto process = WorkerProcess::start(loop_, callback_threads_, options_.command,
                                      [this, raw] { on_ended(*raw); });
  if (!process) return process.error();
  raw->process = *std::move(process);
  // It takes one thing after another, and refuses what comes after a bad configuration.
  raw->process->ask("configure", options_.configuration, {});
  seats_.push_back(std::move(seat));
  return raw;
}

void ProcessPool::begin(Seat& seat, Order order) {
  seat.order = order.id;
  const auto on_answer = [this, &seat, on_done = std::move(order.on_done)](Result<Value> answer) {
    seat.order = 0;
    loop_.cancel_timer(std::exchange(seat.escalation, TimerId::none));
    on_done(std::move(answer));
    // Not from within the channel, which may be at its end.
    loop_.post([this, process = seat.process.get()] {
      assign();
      const auto found = std::ranges::find_if(
          seats_, [process](const auto& one) { return one->process.get() == process; });
      if (found != seats_.end() && (*found)->order == 0) dismiss_if_too_many(**found);
    });
  };
  seat.process->ask("call", std::move(order.call), on_answer);
}

void ProcessPool::cancel(std::uint64_t id) {
  const auto waiting = std::ranges::find(waiting_, id, &Order::id);
  if (waiting != waiting_.end()) {
    const OnDone on_done = std::move(waiting->on_done);
    waiting_.erase(waiting);
    return on_done(Error{.code = Errc::cancelled, .message = "cancelled before it began"});
  }
  const auto seat =
      std::ranges::find_if(seats_, [id](const auto& one) { return one->order == id; });
  if (seat == seats_.end() || (*seat)->escalation != TimerId::none) return;
  (*seat)->process->ask("interrupt", {}, {});
  escalate(**seat, SIGTERM);
}

// If it still works at the same after the grace.
void ProcessPool::escalate(Seat& seat, int signal) {
  seat.escalation = loop_.start_timer(clock_.now() + options_.grace, [this, &seat, signal] {
    seat.process->signal(signal);
    if (signal == SIGTERM) escalate(seat, SIGKILL);
  });
}

void ProcessPool::on_ended(Seat& seat) {
  loop_.cancel_timer(seat.escalation);
  std::erase_if(seats_, [&seat](const auto& one) { return one.get() == &seat; });
  if (closing_ && seats_.empty()) loop_.stop();
}

void ProcessPool::close() {
  closing_ = true;
  for (const Order& order : std::exchange(waiting_, {})) order.on_done(was_shut_down());
  for (const auto& seat : seats_) {
    const bool is_idle = seat->order == 0;
    seat->process->dismiss(was_shut_down());
    if (!is_idle) seat->process->signal(SIGKILL);
  }
  if (seats_.empty()) return loop_.stop();
  static_cast<void>(loop_.start_timer(clock_.now() + farewell, [this] { loop_.stop(); }));
}

}  // namespace unirun::python
