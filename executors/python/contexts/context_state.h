// ContextState is a context as the executor knows it: names of its own, on one worker for life.
// What is submitted for it runs on that worker alone. When it has been closed and the last of its
// tasks has ended, its names are dropped, on the worker; at the latest when the worker's thread
// ends.
//
// Thread: any, but for what names one. Owned by its tasks, by the worker it lives on and by its
// Context.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "executors/python/contexts/bind_options.h"
#include "executors/python/error.h"
#include "executors/python/future.h"

namespace unirun::python {

class ContextState;
class ContextTable;
class PythonWorker;

// The end of a context, for whoever waits for it: nothing runs by it.
class ContextEnd final : public Outcome<void> {
 public:
  explicit ContextEnd(const ContextState& context) : context_(context) {}
  void run() noexcept override {}
  // Lives as long as somebody waits for its end. Only to compare.
  [[nodiscard]] const ContextState* context() const { return &context_; }

 private:
  const ContextState& context_;
};

class ContextState : public std::enable_shared_from_this<ContextState> {
 public:
  // Stands in the table as long as it lives.
  ContextState(ContextTable& table, ContextId id, BindOptions options,
               std::shared_ptr<PythonWorker> worker);
  ContextState(const ContextState&) = delete;
  ContextState& operator=(const ContextState&) = delete;
  ~ContextState();

  [[nodiscard]] ContextId id() const { return id_; }
  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] PythonWorker& worker() const { return *worker_; }
  // Once it has been opened.
  [[nodiscard]] std::int64_t interpreter_id() const { return interpreter_id_; }
  [[nodiscard]] std::uint64_t thread_id() const { return thread_id_; }

  // ---- Its tasks ----

  // Queues one for its worker. False: it is closed, or its worker is gone, and the task is still
  // the caller's.
  [[nodiscard]] bool push(TaskState* task);
  // The context for whose task this thread runs code; null: none.
  [[nodiscard]] static ContextState* current();
  // For a thread that stands in for another.
  static void set_current(ContextState* context);

  // Around each task of a worker, whether it runs or was ended before; null: one of no context.
  // Thread: the worker's, with the GIL.
  class Turn {
   public:
    explicit Turn(ContextState* context);
    ~Turn();
    // The task goes on by turns: leave() is to come when it has ended.
    void keep() { keeps_ = true; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    ContextState* const context_;
    ContextState* const outer_;
    bool keeps_ = false;
  };
  // One of its tasks has ended. Thread: any; the last ends the context, if that was closed.
  void leave();
  // One of its coroutines went on after its cancellation and was given up. Thread: the worker's.
  void count_stuck() { ++stuck_; }

  // ---- Its end ----

  // Takes no more, cancels its coroutines, and ends when its last task has.
  void close();
  [[nodiscard]] bool is_open() const { return (word_.load() & closed) == 0; }
  // Waits until it has ended, but not in a task of its own, nor in one for which a task of its own
  // waits, by however many others. stuck: some of its coroutines did not and were given up;
  // worker_lost: it may never.
  [[nodiscard]] Result<void> wait_until_ended();
  // Its worker does not come back, or nobody knows when. Who waits for its end is told so.
  void lose();
  [[nodiscard]] bool is_lost() const { return lost_.load(); }
  [[nodiscard]] Error loss() const;
  // Its worker's thread ends. Thread: the worker's, with the GIL.
  void end();

  // ---- Thread: in one of its tasks ----

  // Moves in with the worker and makes the names. Errors: those of `preload`.
  [[nodiscard]] Result<void> open();
  // Drops the names and makes them anew. Errors: the same; unsupported of Namespace::main.
  [[nodiscard]] Result<void> reset();
  // What "__main__" is here: a dict, borrowed.
  [[nodiscard]] PyObject* names() const { return names_.get(); }
  // Statements; or an expression that sees `locals` too.
  [[nodiscard]] Result<void> exec(const std::string& code);
  [[nodiscard]] Result<Value> eval(const std::string& code, const Object& locals);

 private:
  static constexpr std::uint64_t closed = std::uint64_t{1} << 63;

  [[nodiscard]] bool enter();
  void end_coroutines();
  void start_end();
  [[nodiscard]] Result<void> make_names();
  void drop_names();
  [[nodiscard]] Result<Reference> run(const std::string& code, const char* mode, PyObject* locals);

  ContextTable& table_;
  const ContextId id_;
  const BindOptions options_;
  const std::shared_ptr<PythonWorker> worker_;
  std::atomic<std::uint64_t> word_{0};  // How many of its tasks have not ended, and `closed`.
  std::atomic<bool> lost_{false};
  const Shared<Outcome<void>> ended_;

  // The worker's, with the GIL.
  Reference names_;
  unsigned on_stack_ = 0;  // Of its tasks.
  bool has_ended_ = false;
  unsigned stuck_ = 0;  // So many coroutines were given up.
  // Set by open(), before anybody else knows of it.
  std::int64_t interpreter_id_ = -1;
  std::uint64_t thread_id_ = 0;
};

}  // namespace unirun::python
