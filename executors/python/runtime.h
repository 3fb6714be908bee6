// Runtime is the PythonExecutor's state: it takes tasks in, bounds how many wait, ends those whose
// time is up or that are not wanted any more, and starts and ends the workers.
//
// Thread: any. One a process, which is never destroyed: threads may ask for it after main() has
// ended.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "executors/python/async/coroutine_endings.h"
#include "executors/python/async/loop_pool.h"
#include "executors/python/async/stream_table.h"
#include "executors/python/calls/parallel.h"
#include "executors/python/contexts/context_table.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/mode_choice.h"
#include "executors/python/python_executor.h"
#include "executors/python/tasks/admission.h"
#include "executors/python/tasks/deadlines.h"
#include "executors/python/tasks/interruptions.h"
#include "executors/python/tasks/worker_pool.h"
#include "framework/doorbell.h"

namespace unirun::python {

class Runtime final : private WorkerObserver {
 public:
  [[nodiscard]] static Runtime& get();

  // ---- As the PythonExecutor's of the same name ----

  [[nodiscard]] Result<void> start(const PythonExecutor::Config& config);
  [[nodiscard]] Result<void> attach_to_host(const PythonExecutor::Config& config);
  [[nodiscard]] Result<void> shutdown(const PythonExecutor::ShutdownOptions& options);
  [[nodiscard]] bool is_running() const { return phase_.load() == Phase::running; }
  [[nodiscard]] bool interrupt(TaskId id);
  [[nodiscard]] Stats statistics();
  [[nodiscard]] ModeReport execution_mode();
  [[nodiscard]] NumaReport numa_report();
  [[nodiscard]] future<std::vector<Result<Value>>> parallel(std::span<const CallSpec> calls,
                                                            const ParallelOptions& options);

  // ---- Tasks ----

  // Settles it at once where it cannot be queued.
  void submit(Shared<TaskState> task, const SubmitOptions& options);
  // All of them with one wake.
  void submit_batch(std::span<Shared<TaskState>> tasks, const SubmitOptions& options);
  // One that is not a submission of its own: it is never rejected for a full queue.
  void enqueue(Shared<TaskState> task, std::int64_t interpreter_id = -1);
  // Its workers have an interpreter each.
  [[nodiscard]] bool has_own_interpreters() const { return mode_.has_own_interpreters(); }
  // One that turned out to be no coroutine.
  void pass_to_workers(Shared<TaskState> task);
  // One that turned out to be one.
  void pass_to_loops(Shared<TaskState> task);
  // Has its code end, and settles it when that has; at once where it has not begun.
  void ask_to_end(TaskState* task);
  // Has a coroutine that runs on a loop cancelled, and looks on until it has ended.
  void end_coroutine(Shared<TaskState> task) { endings_.begin(std::move(task)); }
  // Calls `function`, which must not throw nor wait, unless it is cancelled or the executor shut
  // down before; none where it does not run.
  [[nodiscard]] TimerId call_later(Duration delay, std::function<void()> function);
  void cancel_call(TimerId call) { deadlines_.cancel(call); }
  // Ended with the executor, if it is there still.
  void keep_stream(const std::shared_ptr<StreamStateBase>& stream) { streams_.add(stream); }
  // One that nothing has run for yet.
  [[nodiscard]] Result<std::shared_ptr<ContextState>> add_context(BindOptions options);
  // That of its bind(), or, where it is gone, its number.
  [[nodiscard]] std::string name_of_context(ContextId id);
  // False: nothing of it runs now.
  [[nodiscard]] bool interrupt(const ContextState& context);
  // False: its outcome stands already.
  [[nodiscard]] bool cancel(TaskState& task);
  // The same, with that for its outcome.
  [[nodiscard]] bool cancel(TaskState& task, Error reason);
  // Its deadline has come, `timeout` after its submission: it is not to begin, or to end.
  void time_out(TaskState& task, Duration timeout);
  // Where who waits for an outcome meets the workers.
  [[nodiscard]] Rendezvous& rendezvous() { return pool_.crew().rendezvous(); }

 private:
  enum class Phase : std::uint8_t { none, starting, running, stopping };

  Runtime();
  static void forget_in_child();
  static void call_for_graves() noexcept;

  static void end_with_host() noexcept;

  using Begin = Result<void> (*)(const InterpreterOptions& options);
  [[nodiscard]] Result<void> start(const PythonExecutor::Config& config, Begin begin);
  [[nodiscard]] Result<void> start_workers();
  void open_parallel();
  [[nodiscard]] TaskId next_id(std::uint64_t count = 1);
  void take_time(TaskState& task);
  [[nodiscard]] std::optional<Error> refuse_to_block() const;
  [[nodiscard]] bool admit(TaskState& task, const SubmitOptions& options, Instant deadline);
  [[nodiscard]] bool drop_oldest();
  [[nodiscard]] bool start_timer(const Shared<TaskState>& task, Duration timeout, Instant deadline);
  // False: nobody takes it any more, and it has been rejected.
  [[nodiscard]] bool push(Shared<TaskState>& task, ContextId context = ContextId::none);
  [[nodiscard]] Error refusal(ContextId context);
  void reject(TaskState& task, Error error);
  void refuse(TaskState& task);
  void end_queued(TaskState& task, Ending ending);
  void end_passed(TaskState& task);
  void end_running(Shared<TaskState> task);
  [[nodiscard]] bool wait_until_idle(Instant deadline);
  void end_what_waits();
  void end_waiting(TaskState& task, Error error);
  [[nodiscard]] bool give_up(const TaskState& task);
  [[nodiscard]] bool give_up(CoroutineLoop& loop, const TaskState& task);
  [[nodiscard]] Instant end_what_runs(const PythonExecutor::ShutdownOptions& options);
  void interrupt_what_runs(bool again);
  void settle_what_goes_on();

  void on_taken(TaskState& task) noexcept override;
  void on_ended(TaskState& task) noexcept override;
  void ask_again(TaskState& task) noexcept override;

  std::atomic<Phase> phase_{Phase::none};
  PythonExecutor::Config config_;
  std::vector<std::string> host_command_;  // Of worker processes; empty: this is not a host's.
  Admission admission_;
  WorkerPool pool_{*this};
  LoopPool loops_{*this};
  ContextTable contexts_;
  StreamTable streams_;
  Deadlines deadlines_;
  Interruptions interruptions_{pool_, [this](const TaskState& task) { return give_up(task); }};
  CoroutineEndings endings_{interruptions_, [this](CoroutineLoop& loop, const TaskState& task) {
                              return give_up(loop, task);
                            }};
  Doorbell idle_;
  ModeChoice mode_;
  Parallel parallel_{deadlines_};

  std::atomic<std::uint64_t> ids_before_{0};           // Given before the last start.
  alignas(64) std::atomic<std::uint64_t> last_id_{0};  // Whoever submits writes here.
  alignas(64) std::atomic<std::uint64_t> rejected_{0};
  std::atomic<std::uint64_t> refused_{0};  // Came while it did not run, and have no number.
  std::atomic<std::uint64_t> cancelled_in_queue_{0};
  std::atomic<std::uint64_t> timed_out_in_queue_{0};
};

}  // namespace unirun::python
