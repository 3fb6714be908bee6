#include "executors/python/callbacks/host_parallel.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/calls/blocking_call.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/processes/process_worker.h"
#include "executors/python/python_executor.h"
#include "executors/python/tasks/waiting.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

using Outcomes = std::vector<Result<Value>>;

// The handler of a signal, which may end the wait, runs so soon at the latest. Nothing wakes a
// thread for one that comes just before it waits.
constexpr Duration signal_patience = std::chrono::milliseconds(50);

// Nothing: an exception is set, by such a handler.
std::optional<Result<Outcomes>> wait_for(future<Outcomes> outcomes) {
  const auto wait = [&outcomes] {
    const WaitLabel label("parallel");  // Of one wait.
    return outcomes.wait_for(signal_patience);
  };
  while (!wait()) {
    if (PyErr_CheckSignals() == 0) continue;
    static_cast<void>(outcomes.cancel());
    return std::nullopt;
  }
  return outcomes.get();
}

// ---- parallel() ----

std::optional<ExecutionMode> mode_of(std::string_view word) {
  for (const auto mode :
       {ExecutionMode::automatic, ExecutionMode::free_threaded, ExecutionMode::subinterp,
        ExecutionMode::multi_executor, ExecutionMode::process}) {
    if (word == to_string(mode)) return mode;
  }
  PyErr_Format(PyExc_ValueError,
               "mode: 'automatic', 'free_threaded', 'subinterp', 'multi_executor' or 'process', "
               "not '%.100s'",
               std::string(word).c_str());
  return std::nullopt;
}

// Of (module, function, args, kwargs). Nothing: an exception is set.
std::optional<CallSpec> call_of(PyObject* parts, Py_ssize_t at) {
  const char* module = nullptr;
  const char* function = nullptr;
  PyObject* args = nullptr;
  PyObject* kwargs = nullptr;
  if (PyArg_ParseTuple(parts, "ssO!O!:parallel", &module, &function, &PyTuple_Type, &args,
                       &PyDict_Type, &kwargs) == 0)
    return std::nullopt;
  auto by_position = to_value(args);
  auto by_name = by_position.ok() ? to_value(kwargs) : Result<Value>(Object());
  if (by_position.ok() && by_name.ok())
    return CallSpec{module, function, std::move(*by_position).as_array(),
                    std::move(*by_name).as_object()};
  Error error = by_position.ok() ? by_name.error() : by_position.error();
  error.message =
      fmt::format("calls[{}], the arguments for {}.{}: {}", at, module, function, error.message);
  raise_error(error);
  return std::nullopt;
}

std::optional<std::vector<CallSpec>> calls_of(PyObject* list) {
  std::vector<CallSpec> calls;
  for (Py_ssize_t at = 0; at < PyList_GET_SIZE(list); ++at) {
    auto call = call_of(PyList_GET_ITEM(list, at), at);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
  }
  return calls;
}

// What a call gave, or its exception.
Reference object_of_outcome(const Result<Value>& outcome) {
  Error error;
  if (outcome.ok()) {
    auto object = to_python(*outcome);
    if (object.ok()) return *std::move(object);
    error = object.error();
  } else {
    error = outcome.error();
  }
  raise_error(error);
  return take_exception();
}

PyObject* list_of(const Outcomes& outcomes) {
  Reference list = Reference::steal(PyList_New(0));
  for (const auto& outcome : outcomes) {
    const Reference object = object_of_outcome(outcome);
    if (!list || !object || PyList_Append(list.get(), object.get()) != 0) return nullptr;
  }
  return list.release();
}

PyObject* parallel(PyObject* /*module*/, PyObject* args) {
  PyObject* list = nullptr;
  PyObject* timeout = nullptr;
  const char* word = nullptr;
  if (PyArg_ParseTuple(args, "O!Os:parallel", &PyList_Type, &list, &timeout, &word) == 0)
    return nullptr;
  ParallelOptions options;
  if (timeout != Py_None) {
    const std::chrono::duration<double> seconds(PyFloat_AsDouble(timeout));
    if (PyErr_Occurred() != nullptr) return nullptr;
    options.timeout = seconds < std::chrono::duration<double>(Duration::max())
                          ? std::chrono::duration_cast<Duration>(seconds)
                          : Duration::max();
  }
  const auto mode = mode_of(word);
  const auto calls = mode ? calls_of(list) : std::nullopt;
  if (!calls) return nullptr;
  options.mode = *mode;
  if (const auto may = check_no_loop("parallel"); !may.ok())
    return raise_error(may.error()), nullptr;
  future<Outcomes> begun;
  {
    const GILRelease released;  // What it begins takes the GIL by itself.
    begun = PythonExecutor::parallel(*calls, options);
  }
  const auto outcomes = wait_for(std::move(begun));
  if (!outcomes) return nullptr;
  if (outcomes->ok()) return list_of(**outcomes);
  return raise_error(outcomes->error()), nullptr;
}

// ---- execution_mode() ----

// As the fields of embed.ModeReport.
PyObject* execution_mode(PyObject* /*module*/, PyObject* /*unused*/) {
  ModeReport report;
  {
    const GILRelease released;
    report = PythonExecutor::execution_mode();
  }
  Array refused;
  for (const Refusal& refusal : report.refused_modules)
    refused.push_back(Array{refusal.module, refusal.why});
  auto fields = to_python(Array{std::string(to_string(report.mode)), report.reason,
                                report.python_version, report.gil_enabled, std::move(refused)});
  if (fields.ok()) return fields->release();
  return raise_error(fields.error()), nullptr;
}

// ---- In a worker process ----

PyObject* serve(PyObject* /*module*/, PyObject* /*unused*/) {
  return PyLong_FromLong(run_process_worker());
}

}  // namespace

bool add_host_parallel(PyObject* module) {
  static std::array<PyMethodDef, 4> functions{
      {{"parallel", parallel, METH_VARARGS,
        "parallel(calls, timeout, mode): what each of the (module, function, args, kwargs) gives, "
        "or its exception."},
       {"execution_mode", execution_mode, METH_NOARGS,
        "execution_mode(): mode, reason, python_version, gil_enabled, refused_modules."},
       {"serve", serve, METH_NOARGS,
        "serve(): what a worker process does, until its owner is done with it."},
       {}}};
  return PyModule_AddFunctions(module, functions.data()) == 0;
}

}  // namespace unirun::python
