#include "executors/python/python.h"
// Python.h first.

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "executors/python/interpreter/python_thread.h"
#include "executors/python/tasks/or_hang.h"
#include "executors/python/tasks/task_calls.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {

Error timed_out(std::string_view what, Duration timeout, Progress progress) {
  const char* where = "running";
  if (progress == Progress::at_door) where = "waiting for a place in the queue, not begun";
  if (progress == Progress::queued) where = "waiting in the queue, not begun";
  const std::string after = format_duration(std::max(timeout, Duration::zero()));
  return {.code = Errc::timeout,
          .message = progress == Progress::refused
                         ? fmt::format("{}: a timeout of {} left it no time to begin", what, after)
                         : fmt::format("{}: still {}, when its timeout of {} was over", what, where,
                                       after)};
}

Error error_of_null() {
  if (PythonThread::attached_state() != nullptr && PyErr_Occurred() != nullptr)
    return error_of_exception();
  return {.code = Errc::python_exception,
          .type = "builtins.SystemError",
          .message =
              "the task returned null without an exception set: what fails in C says why by "
              "PyErr_SetString()"};
}

Result<void> check_nothing_left_over() {
  // A follow-up may run on a thread that has nothing to do with Python.
  if (PythonThread::attached_state() == nullptr || PyErr_Occurred() == nullptr) return {};
  return error_of_exception();
}

Error error_of_thrown() {
  Error error = error_of_cpp_exception();
  if (PythonThread::attached_state() != nullptr) PyErr_Clear();
  return error;
}

std::optional<Error> error_thrown_by(void (*function)(const void*), const void* argument) noexcept {
  try {
    function(argument);
    return std::nullopt;
  } catch (abi::__forced_unwind&) {
    hang();
  } catch (...) {
    return error_of_thrown();
  }
}

}  // namespace unirun::python
