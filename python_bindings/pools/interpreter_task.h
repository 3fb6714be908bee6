// InterpreterTask: a call on its way to another interpreter and its outcome on the way back. What
// crosses is bytes; objects stay with the interpreter that made them.
//
// Thread: its owner's, one after the other: who submits, the queue, a worker, who delivers.

#pragma once

#include "python_bindings/python.h"
// Python.h first.

#include <cstddef>
#include <cstdint>

#include "framework/time.h"
#include "python_bindings/pools/future.h"

namespace unirun::bindings {

enum class Carriage : std::uint8_t {
  plain,    // By marshal: None, bool, int, float, str, bytes and tuples of those.
  pickled,  // By pickle.
  standard  // Not by us: the standard library's machinery carries the whole call.
};

enum class Ending : std::uint8_t {
  none,        // It has not run.
  cancelled,   // Before it ran.
  result,      // `outcome`, carried as `carriage` says.
  discarded,   // A result that nobody wants.
  error,       // `outcome` is what describe() told of the exception.
  unsendable,  // `outcome` says why the result cannot be carried.
  home         // `returned` or `raised` is an object of the home interpreter already.
};

struct InterpreterTask {
  InterpreterTask* next;
  Future* future;
  // The call, in objects of the home interpreter. `function` is its place in the engine's table.
  std::size_t function;
  Carriage carriage;  // Of the arguments, later of the result.
  bool wants_result;
  bool chunk;          // Each argument is the arguments of one call; the result is a sequence.
  PyObject* frame;     // bytes: the arguments; null where `carriage` is standard.
  PyObject* callable;  // For the standard machinery: kept unless the frame is plain.
  PyObject* arguments;
  PyObject* keywords;  // Or null.
  Instant queued_at;   // The epoch: this one is not timed.

  Ending ending;
  char* outcome;  // PyMem_RawMalloc.
  std::size_t outcome_size;
  PyObject* returned;
  PyObject* raised;

  [[nodiscard]] bool is_timed() const { return queued_at != Instant{}; }

  // For fn(*arguments) with `names` of the last arguments; takes the future's reference over. Null:
  // an exception is set, and the future is gone. REQUIRES: the home interpreter.
  static InterpreterTask* make(Future* future, std::size_t function, PyObject* callable,
                               PyObject* const* arguments, Py_ssize_t count, PyObject* names,
                               PyObject* dumps);
  // REQUIRES: the home interpreter.
  static void destroy(InterpreterTask* task);

  // Gives a plain frame's objects back to the standard machinery. False: an exception is set.
  [[nodiscard]] bool unpack(PyObject* function_object);
  // Copies `bytes`, an object of any interpreter.
  bool set_outcome(Ending how, PyObject* bytes);
};

// The table has no place for it.
constexpr std::size_t not_in_table = static_cast<std::size_t>(-1);

// Whether marshal carries it: exactly of these types, and not nested deeply.
[[nodiscard]] bool is_plain(PyObject* object, int depth = 0);

// Null: an exception is set.
[[nodiscard]] PyObject* marshalled(PyObject* object);

// First in, first out. Thread: with its engine's lock; its length without.
class InterpreterTasks {
 public:
  void push(InterpreterTask* task);
  [[nodiscard]] InterpreterTask* pop();
  // Takes this one out, wherever it stands. False: it is not here.
  bool remove(const InterpreterTask* task);
  [[nodiscard]] std::size_t size() const { return length_.load(std::memory_order_relaxed); }
  // Ordered against the state of a sleeping thread.
  [[nodiscard]] bool has_some() const { return length_.load(std::memory_order_seq_cst) > 0; }

 private:
  InterpreterTask* first_ = nullptr;
  InterpreterTask* last_ = nullptr;
  std::atomic<std::size_t> length_{0};
};

}  // namespace unirun::bindings
