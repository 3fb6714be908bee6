// Asyncio is a loop of asyncio's whose waiting is ours: its selector's select() serves a client, so
// that what is given to the loop from C++ needs neither a callback nor a turn of asyncio's own. It
// is an asyncio.SelectorEventLoop, and nothing private to it is touched.
//
// Thread: the one that runs the loop, with the GIL.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include "framework/time.h"

namespace unirun::python {

class Asyncio {
 public:
  // Whose loop it is.
  class Client {
   public:
    // Does what has been asked for. True: there is more.
    [[nodiscard]] virtual bool serve() = 0;
    // Waits until there is something to serve, or `descriptor` is readable, or `until`; lets go of
    // the GIL meanwhile. True: it is readable. The epoch: does not wait.
    [[nodiscard]] virtual bool wait(int descriptor, Instant until) = 0;

   protected:
    ~Client() = default;
  };

  Asyncio() = default;
  Asyncio(const Asyncio&) = delete;
  Asyncio& operator=(const Asyncio&) = delete;
  ~Asyncio() = default;

  // False: an exception is set.
  [[nodiscard]] bool open(Client& client);
  [[nodiscard]] bool is_open() const { return static_cast<bool>(loop_); }
  // Until stop().
  void run();
  void stop();
  // Whether something was scheduled since the loop last looked for what is ready.
  [[nodiscard]] bool wants_turn() const { return wants_turn_; }
  // Cancels and awaits what is left, ends asynchronous generators and the default executor.
  void close();
  // The same by turns: the task that does that, and what comes once it is done. Null: an exception
  // is set.
  [[nodiscard]] Reference begin_end();
  void shut();
  // Lets go of all that is Python's. What Python holds of this refuses from now on.
  void drop();

  // Makes a task of asyncio's, in `context` or, where that is null, in a copy of the loop's, and
  // takes its first step, after which it may have ended. It has the name of what `named` says, or a
  // number. Null: an exception is set.
  [[nodiscard]] Reference start(PyObject* coroutine, PyObject* named, PyObject* context);

  // Whether one of asyncio's loops runs on this thread, which cannot run another then.
  [[nodiscard]] static bool runs_here();

  // A future of asyncio's. Null: an exception is set.
  [[nodiscard]] Reference create_future();
  // Its result is None from now on, unless it has one or was cancelled.
  static void settle(PyObject* future);
  [[nodiscard]] static bool is_done(PyObject* future);

  // Takes the exception that is set to where asyncio reports what nobody awaits.
  void report(const char* what);

  // Borrowed.
  [[nodiscard]] PyObject* loop() const { return loop_.get(); }
  [[nodiscard]] PyObject* cancelled_error() const { return cancelled_error_.get(); }
  // The selector's: readable when something that the loop watches is ready.
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  struct Link;
  enum class Hook { select, call_soon, call_at };

  [[nodiscard]] bool find_names();
  [[nodiscard]] bool hook_in();
  [[nodiscard]] Reference make_task(PyObject* coroutine, PyObject* named, PyObject* context);
  void take_first_step();
  [[nodiscard]] PyObject* select(PyObject* timeout);
  [[nodiscard]] bool capture(PyObject* const* arguments, Py_ssize_t size, PyObject* names);

  static Asyncio* of(PyObject* self);
  static PyObject* on_select(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                             PyObject* names);
  static PyObject* on_call_soon(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                                PyObject* names);
  static PyObject* on_call_at(PyObject* self, PyObject* const* arguments, Py_ssize_t size,
                              PyObject* names);

  Client* client_ = nullptr;
  Link* link_ = nullptr;
  Reference asyncio_;
  Reference selector_;
  Reference loop_;
  Reference task_class_;
  Reference cancelled_error_;
  Reference qualname_;       // The word.
  Reference plain_names_;    // Of the arguments of Task;
  Reference context_names_;  // and with a context.
  Reference select_;         // As they were before they were hooked.
  Reference call_soon_;
  Reference call_at_;

  int descriptor_ = -1;
  bool is_stopped_ = false;
  bool wants_turn_ = false;  // Something was scheduled.
  bool captures_ = false;    // The next call_soon() is that of a task that is being made:
  Reference first_step_;     // this,
  Reference first_context_;  // in this.
};

}  // namespace unirun::python
