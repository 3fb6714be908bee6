// Starts and ends CPython itself, once in a process: what an extension module has made of itself
// does not survive a second start. Or lives inside one that somebody else starts and ends: the
// host, whose extension module we are.
//
// Thread: start() and finalize() the same one.

#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "executors/python/error.h"
#include "framework/time.h"

namespace unirun::python {

struct InterpreterOptions {
  bool isolated = true;  // From the environment and the user's site, and without `site`.
  bool install_signal_handlers = false;  // Ctrl-C is the program's.
  std::vector<std::string> sys_path{};   // Goes before what Python has found by itself.
  std::chrono::microseconds switch_interval{5000};
  bool without_gil = false;  // Where Python can go without; else only where PYTHON_GIL=0 is heard.
};

class Interpreter {
 public:
  // Starts one and lets go of its GIL. Where one runs that this has started
  // only paths and interval are set. Errors:
  // already_initialized, somebody else's runs; python_exception, with CPython's own
  // words.
  [[nodiscard]] static Result<void> start(const InterpreterOptions& options);

  // Moves into the host's: takes `sys_path` and, unless it is Python's own, `switch_interval` of
  // the options. `before_exit` is called with the GIL when the host ends, before it finalizes; then
  // nobody attaches any more, and everybody inside has left or gets no more time. Again: only where
  // it was moved out of, as by fork(). Thread: with the GIL. Errors: wrong_interpreter, that of
  // this thread is not the main one; finalized, the host is ending; already_initialized, it is our
  // own.
  using ExitHook = void (*)() noexcept;
  [[nodiscard]] static Result<void> adopt(const InterpreterOptions& options, ExitHook before_exit);

  // Ends the one that start() has started. Errors: unsupported, on another thread or of another's
  // interpreter; stuck, somebody holds the GIL or waits for it, and all is as before.
  [[nodiscard]] static Result<void> finalize(Duration timeout);

  [[nodiscard]] static bool is_running();
  // For good, or it is about to.
  [[nodiscard]] static bool has_ended();
  // What is said where no executor runs: not_initialized, or finalized once it has ended.
  [[nodiscard]] static Error no_executor();

  // ---- Thread: any; each takes the GIL where there is one ----

  // Now: an import may have switched it on again.
  [[nodiscard]] static bool is_gil_enabled();
  // As it is now; what is no text is left out.
  [[nodiscard]] static Array sys_path();

  // ---- Thread: with the GIL of the interpreter that is meant ----

  // Errors: import_failed, the first that does not load, and why.
  [[nodiscard]] static Result<void> import_all(const std::vector<std::string>& modules);
  // False: an exception is set.
  [[nodiscard]] static bool set_switch_interval(std::chrono::microseconds interval);

  // "3.13.0"
  [[nodiscard]] static std::string version();
};

}  // namespace unirun::python
