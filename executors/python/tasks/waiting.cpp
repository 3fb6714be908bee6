#include "executors/python/tasks/waiting.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <new>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "executors/python/async/async_loop.h"
#include "executors/python/callbacks/native_function.h"
#include "executors/python/contexts/context_state.h"
#include "executors/python/future.h"
#include "executors/python/tasks/worker.h"

namespace unirun::python {

// As it was when it first waited: asked once, since every wait would pay for it, and a look at a
// thousand of them for a file of each.
struct WaitingThread {
  ::pid_t id = static_cast<::pid_t>(::syscall(SYS_gettid));
  std::array<char, 16> name{};  // As many as the kernel keeps, with the zero.

  WaitingThread() { static_cast<void>(::prctl(PR_GET_NAME, name.data())); }
};

namespace {

// All marks that there are, the latest first. Nothing is called and nothing dropped under it.
struct Board {
  std::mutex mutex;
  WaitMark* first = nullptr;
};

// Never destroyed: threads may wait after main() has ended.
Board& board() {
  static auto* const all = new Board;
  return *all;
}

thread_local const WaitLabel* next_label = nullptr;

const WaitingThread& own_thread() {
  static thread_local const WaitingThread thread;
  return thread;
}

TaskState* running_here() {
  if (const PythonWorker* const worker = PythonWorker::current())
    return const_cast<TaskState*>(worker->running());
  return nullptr;
}

thread_local WaitMark* innermost_mark = nullptr;

std::string name_of_thread(const WaitingThread& thread) {
  return fmt::format("thread {} ({})", thread.id, thread.name.data());
}

// On a worker's or a loop's list. What is made of other calls never is, and never begins.
bool is_queued(const TaskState& task) {
  using MadeOfCalls = Outcome<std::vector<Result<Value>>>;
  if (task.has_started()) return false;
  return task.was_queued() || dynamic_cast<const MadeOfCalls*>(&task) == nullptr;
}

std::string name_of_task(const TaskState& task, const std::string& label) {
  std::string name = label;
  if (task.was_queued())
    name += fmt::format("{}task {}", name.empty() ? "" : ", ", static_cast<std::uint64_t>(task.id));
  if (name.empty()) name = "a task";
  if (const auto& context = task.bound_to; context != nullptr) {
    const std::string& given = context->name();
    name += given.empty() ? fmt::format(" in context {}", static_cast<std::uint64_t>(context->id()))
                          : fmt::format(" in context '{}'", given);
  }
  return is_queued(task) ? name + " (queued)" : name;
}

}  // namespace

// ---- Marks ----

WaitLabel::WaitLabel(std::string_view what, std::string_view module, std::string_view function)
    : what_(what), module_(module), function_(function) {
  next_label = this;
}

WaitLabel::~WaitLabel() { next_label = nullptr; }

std::string WaitLabel::text() const {
  if (function_.empty()) return fmt::format("{}()", what_);
  if (module_.empty()) return fmt::format("{} '{}'", what_, function_);
  return fmt::format("{}() of {}.{}", what_, module_, function_);
}

WaitMark::WaitMark(TaskState& awaited)
    : awaited_(awaited),
      waiter_(running_here()),
      frame_(NativeFrame::innermost()),
      label_(std::exchange(next_label, nullptr)),
      thread_(own_thread()),
      outer_(std::exchange(innermost_mark, this)) {
  const std::lock_guard lock(board().mutex);
  next_ = std::exchange(board().first, this);
  if (next_ != nullptr) next_->previous_ = this;
}

WaitMark::~WaitMark() {
  innermost_mark = outer_;
  const std::lock_guard lock(board().mutex);
  (previous_ != nullptr ? previous_->next_ : board().first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
}

void WaitMark::serve(TaskState* task) {
  const std::lock_guard lock(board().mutex);
  served_ = task;
}

void forget_waits() {
  new (&board().mutex) std::mutex;
  board().first = nullptr;
  for (WaitMark* mark = innermost_mark; mark != nullptr; mark = mark->outer_) {
    mark->previous_ = nullptr;
    mark->next_ = std::exchange(board().first, mark);
    if (mark->next_ != nullptr) mark->next_->previous_ = mark;
  }
}

// ---- Who is held up by whom ----

namespace {

using HeldUp = std::unordered_set<const TaskState*>;

// Whether `awaited` is one of those, or the end of a context of which one is a task.
bool is_among(const HeldUp& held, const TaskState* awaited) {
  if (held.contains(awaited)) return true;
  const auto* const end = dynamic_cast<const ContextEnd*>(awaited);
  return end != nullptr && std::ranges::any_of(held, [end](const TaskState* task) {
           return task->bound_to.get() == end->context();
         });
}

}  // namespace

bool is_held_up_by(const TaskState& awaited, const std::vector<Shared<TaskState>>& tasks) {
  HeldUp held;
  for (const auto& task : tasks) held.insert(task.get());
  const std::lock_guard lock(board().mutex);
  for (std::size_t before = 0; before != held.size();) {
    before = held.size();
    for (const WaitMark* mark = board().first; mark != nullptr; mark = mark->next_) {
      const bool is_beneath = mark->served_ != nullptr && held.contains(mark->served_);
      if (mark->waiter_ != nullptr && (is_beneath || is_among(held, &mark->awaited_)))
        held.insert(mark->waiter_);
    }
  }
  return is_among(held, &awaited);
}

// ---- Chains ----

namespace {

Shared<TaskState> share_of(TaskState* task) {
  if (task != nullptr) task->add_owner();
  return Shared<TaskState>(task);
}

}  // namespace

// One mark as it was: all that it refers to lives on.
struct WaitMark::Seen {
  Shared<TaskState> awaited;
  Shared<TaskState> waiter;
  Shared<TaskState> served;
  std::string function;
  std::string label;
  WaitingThread thread;

  // For whom it waits now: where that has ended, for what runs on top of it.
  [[nodiscard]] const TaskState* next() const {
    return awaited->is_settled() && served ? served.get() : awaited.get();
  }
};

WaitMark::Seen WaitMark::look() const {
  const bool is_own_frame = frame_ != nullptr && (outer_ == nullptr || outer_->frame_ != frame_);
  return {.awaited = share_of(&awaited_),
          .waiter = share_of(waiter_),
          .served = share_of(served_),
          .function = is_own_frame ? frame_->function().name() : std::string(),
          .label = label_ != nullptr ? label_->text() : std::string(),
          .thread = thread_};
}

std::vector<WaitChain> waiting_chains() {
  std::vector<WaitMark::Seen> seen;
  {
    const std::lock_guard lock(board().mutex);
    for (const WaitMark* mark = board().first; mark != nullptr; mark = mark->next_)
      seen.push_back(mark->look());
  }
  std::unordered_map<const TaskState*, const WaitMark::Seen*> waits_of;  // By who waits.
  std::unordered_map<const TaskState*, const WaitMark::Seen*> awaited;   // By for whom.
  for (const auto& one : seen) {
    if (one.waiter) waits_of[one.waiter.get()] = &one;
    awaited[one.next()] = &one;
  }
  std::unordered_set<const WaitMark::Seen*> told;  // By any chain.
  const auto chain_from = [&](const WaitMark::Seen* at) {
    WaitChain chain{at->waiter ? name_of_task(*at->waiter, {}) : name_of_thread(at->thread)};
    std::unordered_set<const WaitMark::Seen*> own{};
    while (at != nullptr) {
      if (!at->function.empty()) chain.push_back(fmt::format("C++ function '{}'", at->function));
      const TaskState* const next = at->next();
      const bool is_its_own = next == at->awaited.get();
      chain.push_back(name_of_task(*next, is_its_own ? at->label : std::string()));
      told.insert(at);
      if (!own.insert(at).second) break;  // A circle: it ends where it began.
      const auto found = waits_of.find(next);
      at = found != waits_of.end() ? found->second : nullptr;
    }
    return chain;
  };
  std::vector<WaitChain> chains;
  // The latest mark stands first.
  for (auto one = seen.rbegin(); one != seen.rend(); ++one) {
    if (!one->waiter || !awaited.contains(one->waiter.get())) chains.push_back(chain_from(&*one));
  }
  for (auto one = seen.rbegin(); one != seen.rend(); ++one) {
    if (!told.contains(&*one)) chains.push_back(chain_from(&*one));  // Of circles.
  }
  return chains;
}

}  // namespace unirun::python
