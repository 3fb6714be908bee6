// What tasks and futures ask of the executor, and of Python, without knowing either.

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "executors/python/error.h"
#include "executors/python/tasks/task_state.h"
#include "framework/time.h"

namespace unirun::python {

// Queues a task that is not a submission of its own: it is never rejected. Without an executor it
// fails. Thread: any.
void enqueue(Shared<TaskState> task) noexcept;
// The same for one that needs an object of that interpreter: a worker there runs it.
void enqueue_in(std::int64_t interpreter_id, Shared<TaskState> task) noexcept;

// As future::cancel(). Thread: any.
[[nodiscard]] bool cancel_task(TaskState& task) noexcept;

// As future::wait_for(): false at once where this thread must not wait. Thread: any.
[[nodiscard]] bool wait_until_settled(TaskState& task, Instant deadline);
// Why `what` has not waited to the end: loop_running, inside a coroutine; not_initialized, in a
// child of fork(), of what is its parent's.
[[nodiscard]] Error why_not_waited(std::string_view what);

// On the thread of a loop of asyncio's: `what` would hold up all that runs there, and for ever
// where that is what it waits for. Errors: unsupported, saying so.
[[nodiscard]] Result<void> check_no_coroutine(std::string_view what);

// Where `what` was when its time was up.
enum class Progress : std::uint8_t {
  refused,  // It had no time at all.
  at_door,  // It waited for a place in the queue.
  queued,
  running,
};
[[nodiscard]] Error timed_out(std::string_view what, Duration timeout, Progress progress);

// The end of a wait that begins now; Instant::max() where that is too far off.
[[nodiscard]] Instant deadline_after(Duration timeout);

// ---- With the GIL ----

// Of code that returned null: its exception, or that there was none.
[[nodiscard]] Error error_of_null();
// Of code that returned a value: the exception that it left set, which is taken off the thread.
[[nodiscard]] Result<void> check_nothing_left_over();

// Within a catch: of what is being handled. One of Python's that is set besides is dropped.
[[nodiscard]] Error error_of_thrown();
// Calls it; what has left it as an exception of C++'s, if anything has.
[[nodiscard]] std::optional<Error> error_thrown_by(void (*function)(const void*),
                                                   const void* argument) noexcept;

}  // namespace unirun::python
