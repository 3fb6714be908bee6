// What it costs a C++ program to have coroutine functions of Python run: by async_call(), beside
// asyncio's own tasks made on the thread of their loop, which need no other thread and give nothing
// back to C++, and beside asyncio.run_coroutine_threadsafe(), with which one brings a coroutine to
// a loop that runs elsewhere.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "executors/python/python_executor.h"
#include "executors/python/values/exception_text.h"

namespace unirun::bench {

// Of one coroutine function, by name, that returns what it is given.
class CoroutineRounds {
 public:
  explicit CoroutineRounds(std::string function) : function_(std::move(function)) { define(); }

  void one_at_a_time(int count) {
    for (int n = 0; n < count; ++n) check(call(n).get(), n);
  }
  void at_once(int count) {
    std::vector<python::future<python::Value>> under_way;
    under_way.reserve(static_cast<std::size_t>(count));
    for (int n = 0; n < count; ++n) under_way.push_back(call(n));
    for (int n = 0; n < count; ++n) check(under_way[static_cast<std::size_t>(n)].get(), n);
  }

  void floor_at_once(int count) { run("floor_at_once", count); }
  void rival_one_at_a_time(int count) { run("rival_one_at_a_time", count); }
  void rival_at_once(int count) { run("rival_at_once", count); }

 private:
  static constexpr const char* code = R"(
import asyncio, importlib.machinery, threading

__spec__ = importlib.machinery.ModuleSpec(__name__, None)  # As every imported module has.

async def echo(value): return value

async def pause(value):
    await asyncio.sleep(0)
    return value

async def all_of_them(function, count):
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(function(n)) for n in range(count)]
    for task in tasks: await task

def floor_at_once(function, count): asyncio.run(all_of_them(function, count))

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()

def rival_one_at_a_time(function, count):
    for n in range(count):
        if asyncio.run_coroutine_threadsafe(function(n), loop).result() != n: raise ValueError(n)

def rival_at_once(function, count):
    futures = [asyncio.run_coroutine_threadsafe(function(n), loop) for n in range(count)]
    for n, future in enumerate(futures):
        if future.result() != n: raise ValueError(n)
)";

  static void define() {
    const auto defined =
        python::PythonExecutor::submit([]() -> python::Result<void> {
          PyObject* const names = PyModule_GetDict(PyImport_AddModule("coroutines"));
          if (PyDict_GetItemString(names, "echo") != nullptr) return {};
          PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
          if (python::Reference::steal(PyRun_String(code, Py_file_input, names, names))) return {};
          return python::error_of_exception();
        }).get();
    if (!defined.ok()) fail(defined.error().message);
  }

  [[nodiscard]] python::future<python::Value> call(int n) const {
    return python::PythonExecutor::async_call("coroutines", function_, {n});
  }
  static void check(const python::Result<python::Value>& outcome, int n) {
    if (!outcome.ok()) fail(outcome.error().message);
    if (*outcome != python::Value(n)) fail("a coroutine returned something else");
  }

  // On a worker, which lets go of the GIL where it waits.
  void run(const char* what, int count) const {
    const auto ran = python::PythonExecutor::submit([&]() -> python::Result<void> {
                       PyObject* const module = PyImport_AddModule("coroutines");
                       const auto function = python::Reference::steal(
                           PyObject_GetAttrString(module, function_.c_str()));
                       if (python::Reference::steal(
                               PyObject_CallMethod(module, what, "Oi", function.get(), count)))
                         return {};
                       return python::error_of_exception();
                     }).get();
    if (!ran.ok()) fail(ran.error().message);
  }

  [[noreturn]] static void fail(const std::string& why) {
    std::fprintf(stderr, "coroutines: %s\n", why.c_str());
    std::abort();
  }

  std::string function_;
};

}  // namespace unirun::bench
