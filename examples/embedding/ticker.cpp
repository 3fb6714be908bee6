// An extension module for a Python that runs already: a thread of C++ ticks, and at each tick a
// function of Python's is called on a worker of unirun's. The ticking thread never waits for the
// GIL, whatever the program's Python code does meanwhile.
//
//   import ticker
//   ticker.start(function, 0.002)   # Seconds between two ticks.
//   ...
//   ticker.stop()                   # {"ticks": 500, "calls": 500, "failed": 0, "late": 3.1e-05}
#include <Python.h>
// Python.h first.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "unirun/executors/python/interpreter/gil_guard.h"
#include "unirun/executors/python/python_executor.h"

namespace {

using unirun::python::PythonExecutor;
using unirun::python::Ref;
using Clock = std::chrono::steady_clock;

class Ticker {
 public:
  Ticker(Ref function, Clock::duration period)
      : function_(std::move(function)), period_(period), thread_([this] { tick(); }) {}
  ~Ticker() { end(); }

  // Ends the ticking, and waits for the calls. Thread: without the GIL.
  void end() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    stop_.notify_one();
    if (thread_.joinable()) thread_.join();
    for (auto& call : calls_) failed_ += call.get().ok() ? 0 : 1;
    calls_.clear();
  }

  // After the end, with the GIL: a new dict.
  [[nodiscard]] PyObject* report() {
    std::ranges::sort(late_);
    const double late = late_.empty() ? 0.0 : late_[late_.size() / 2];
    return Py_BuildValue("{s:i,s:n,s:i,s:d}", "ticks", ticks_, "calls",
                         static_cast<Py_ssize_t>(late_.size()), "failed", failed_, "late", late);
  }

 private:
  void tick() {
    auto due = Clock::now();
    for (std::unique_lock lock(mutex_); !over_;
         stop_.wait_until(lock, due, [this] { return over_; })) {
      ++ticks_;
      calls_.push_back(
          PythonExecutor::submit([this, asked = Clock::now()] { return call(asked); }));
      due += period_;
    }
  }

  // On a worker, with the GIL: one at a time.
  PyObject* call(Clock::time_point asked) {
    late_.push_back(std::chrono::duration<double>(Clock::now() - asked).count());
    return PyObject_CallNoArgs(function_.get());
  }

  const Ref function_;
  const Clock::duration period_;
  std::vector<unirun::python::future<PyObject*>> calls_;
  int ticks_ = 0;
  int failed_ = 0;
  std::vector<double> late_;  // Seconds from each tick to its call. The GIL guards it.
  std::mutex mutex_;          // Guards the next.
  bool over_ = false;
  std::condition_variable stop_;
  std::thread thread_;  // Last: it uses the rest.
};

std::optional<Ticker> ticker;  // The GIL guards it.

PyObject* start(PyObject* /*module*/, PyObject* arguments) {
  PyObject* function = nullptr;
  double seconds = 0;
  if (PyArg_ParseTuple(arguments, "Od", &function, &seconds) == 0) return nullptr;
  if (ticker) return PyErr_Format(PyExc_RuntimeError, "it ticks already: stop() it first");
  if (!PythonExecutor::is_initialized()) {
    if (const auto begun = PythonExecutor::attach({.num_workers = 1}); !begun.ok())
      return PyErr_Format(PyExc_RuntimeError, "%s", begun.error().message.c_str());
  }
  const std::chrono::duration<double> period(seconds);
  ticker.emplace(Ref::borrow(function), std::chrono::duration_cast<Clock::duration>(period));
  Py_RETURN_NONE;
}

PyObject* stop(PyObject* /*module*/, PyObject* /*nothing*/) {
  if (!ticker) return PyErr_Format(PyExc_RuntimeError, "it does not tick: start() it first");
  {
    const unirun::python::GILRelease released;
    ticker->end();
  }
  PyObject* const report = ticker->report();
  ticker.reset();
  return report;
}

PyMethodDef methods[] = {
    {"start", start, METH_VARARGS, "Calls a function each so many seconds, on another thread."},
    {"stop", stop, METH_NOARGS, "Ends that, and says how it went."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "ticker",
                          "A thread of C++ that has Python called.",
                          -1,
                          methods,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_ticker() { return PyModule_Create(&definition); }
