#include "executors/python/callbacks/host_functions.h"

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/python_executor.h"
#include "executors/python/runtime.h"
#include "executors/python/tasks/waiting.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

PyObject* none_or_raise(const Result<void>& result) {
  if (result) Py_RETURN_NONE;
  raise_error(result.error());
  return nullptr;
}

// ---- Beginning and end ----

std::optional<Overflow> overflow_of(std::string_view word) {
  if (word == "reject") return Overflow::reject;
  if (word == "block") return Overflow::block;
  if (word == "drop_oldest") return Overflow::drop_oldest;
  PyErr_Format(PyExc_ValueError, "overflow: 'reject', 'block' or 'drop_oldest', not '%.100s'",
               std::string(word).c_str());
  return std::nullopt;
}

// The items of a sequence of str; null: none.
std::optional<std::vector<std::string>> texts_of(PyObject* sequence) {
  std::vector<std::string> texts;
  if (sequence == nullptr) return texts;
  const Reference items = Reference::steal(PySequence_Tuple(sequence));
  if (!items) return std::nullopt;
  for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(items.get()); ++at) {
    Py_ssize_t size = 0;
    const char* const text = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(items.get(), at), &size);
    if (text == nullptr) return std::nullopt;
    texts.emplace_back(text, static_cast<std::size_t>(size));
  }
  return texts;
}

PyObject* attach(PyObject* /*module*/, PyObject* args, PyObject* kwargs) {
  std::array<const char*, 10> names{"num_workers",
                                    "queue_size",
                                    "overflow",
                                    "sys_path",
                                    "preload",
                                    "use_subinterpreters",
                                    "allow_unsafe_subinterpreters",
                                    "num_subinterp_workers",
                                    "keyboard_interrupt",
                                    nullptr};
  PythonExecutor::Config config;
  const char* overflow = "reject";
  PyObject* sys_path = nullptr;
  PyObject* preload = nullptr;
  int use_subinterpreters = 0;
  int allow_unsafe_subinterpreters = 0;
  int keyboard_interrupt = 0;
  if (PyArg_ParseTupleAndKeywords(
          args, kwargs, "|$IIsOOppIp:attach", const_cast<char**>(names.data()), &config.num_workers,
          &config.queue_size, &overflow, &sys_path, &preload, &use_subinterpreters,
          &allow_unsafe_subinterpreters, &config.num_subinterp_workers, &keyboard_interrupt) == 0)
    return nullptr;
  const auto word = overflow_of(overflow);
  auto folders = texts_of(sys_path);
  if (!word || !folders) return nullptr;
  auto modules = texts_of(preload);
  if (!modules) return nullptr;
  config.overflow = *word;
  config.sys_path = std::move(*folders);
  config.preload = std::move(*modules);
  config.use_subinterpreters = use_subinterpreters != 0;
  config.allow_unsafe_subinterpreters = allow_unsafe_subinterpreters != 0;
  config.keyboard_interrupt = keyboard_interrupt != 0;
  return none_or_raise(PythonExecutor::attach(config));
}

Duration seconds(double count) {
  const std::chrono::duration<double> time(count);
  if (!(time < std::chrono::duration<double>(Duration::max()))) return Duration::max();
  return std::max(Duration::zero(), std::chrono::duration_cast<Duration>(time));
}

PyObject* shut_down(PyObject* /*module*/, PyObject* args, PyObject* kwargs) {
  std::array<const char*, 4> names{"drain", "interrupt", "grace", nullptr};
  double drain = 5;
  int interrupt = 1;
  double grace = 5;
  if (PyArg_ParseTupleAndKeywords(args, kwargs, "|$dpd:shutdown", const_cast<char**>(names.data()),
                                  &drain, &interrupt, &grace) == 0)
    return nullptr;
  return none_or_raise(PythonExecutor::shutdown(
      {.drain = seconds(drain), .interrupt = interrupt != 0, .grace = seconds(grace)}));
}

PyObject* is_initialized(PyObject* /*module*/, PyObject* /*unused*/) {
  return PyBool_FromLong(PythonExecutor::is_initialized() ? 1 : 0);
}

// ---- Tasks ----

// Calls `refused` with what ended the task, if that was anything but its return.
class ToldRefusal final : public Continuation {
 public:
  ToldRefusal(Shared<Outcome<PyObject*>> task, Ref refused)
      : task_(std::move(task)), refused_(std::move(refused)) {}

  std::unique_ptr<Continuation> run() noexcept override {
    if (const Error* const error = task_->error(); error != nullptr) tell(*error);
    return nullptr;
  }

 private:
  void tell(const Error& error) const noexcept {
    const GILGuard guard;
    if (!guard.attached()) return;
    raise_error(error);
    const Reference exception = take_exception();
    if (Reference::steal(PyObject_CallOneArg(refused_.get(), exception.get()))) return;
    PyErr_WriteUnraisable(refused_.get());
  }

  const Shared<Outcome<PyObject*>> task_;
  const Ref refused_;
};

Error objects_stay() {
  return {.code = Errc::wrong_interpreter,
          .message =
              "submit: the workers have interpreters of their own (use_subinterpreters), and a "
              "function object stays in its interpreter: name it instead, by parallel()"};
}

PyObject* refuse(PyObject* refused, const Error& error) {
  raise_error(error);
  const Reference exception = take_exception();
  return PyObject_CallOneArg(refused, exception.get());
}

PyObject* submit(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "submit(task, refused): two callables");
    return nullptr;
  }
  // Neither callable may be touched on such a worker.
  if (PythonExecutor::is_initialized() && Runtime::get().has_own_interpreters())
    return refuse(arguments[1], objects_stay());
  const auto outcome = PythonExecutor::submit(Ref::borrow(arguments[0])).release();
  outcome->follow(std::make_unique<ToldRefusal>(outcome, Ref::borrow(arguments[1])));
  Py_RETURN_NONE;
}

// ---- Statistics ----

Object figures_of(const Histogram& times) {
  return {{"count", times.count()},
          {"sum_ns", times.sum().count()},
          {"mean_ns", times.mean().count()},
          {"p50_ns", times.quantile(0.5).count()},
          {"p90_ns", times.quantile(0.9).count()},
          {"p99_ns", times.quantile(0.99).count()},
          {"max_ns", times.max().count()}};
}

Object figures_of(const WorkerStats& worker) {
  Object figures{{"id", worker.id},
                 {"executed", worker.executed},
                 {"failed", worker.failed},
                 {"cancelled", worker.cancelled},
                 {"timed_out", worker.timed_out},
                 {"interrupted", worker.interrupted},
                 {"is_busy", worker.is_busy}};
  Value& cpu = figures["cpu"];
  if (worker.cpu) cpu = *worker.cpu;
  return figures;
}

Object figures_of(const Stats& stats) {
  Array workers;
  for (const WorkerStats& worker : stats.per_worker) workers.emplace_back(figures_of(worker));
  return {{"submitted", stats.submitted},
          {"tasks_executed", stats.tasks_executed},
          {"tasks_queued", stats.tasks_queued},
          {"tasks_failed", stats.tasks_failed},
          {"cancelled", stats.cancelled},
          {"timed_out", stats.timed_out},
          {"rejected", stats.rejected},
          {"interrupted", stats.interrupted},
          {"running", stats.running},
          {"stuck", stats.stuck},
          {"workers", stats.workers},
          {"avg_execution_time_ns", stats.avg_execution_time_ns},
          {"avg_queue_wait_ns", stats.avg_queue_wait_ns},
          {"avg_gil_wait_ns", stats.avg_gil_wait_ns},
          {"queue_wait", figures_of(stats.queue_wait)},
          {"execution", figures_of(stats.execution)},
          {"gil_wait", figures_of(stats.gil_wait)},
          {"per_worker", std::move(workers)}};
}

PyObject* stats(PyObject* /*module*/, PyObject* /*unused*/) {
  auto figures = to_python(figures_of(PythonExecutor::get_stats()));
  if (figures.ok()) return figures->release();
  raise_error(figures.error());
  return nullptr;
}

PyObject* stats_text(PyObject* /*module*/, PyObject* /*unused*/) {
  const std::string text = prometheus_text(PythonExecutor::get_stats());
  return PyUnicode_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
}

Reference to_list(const WaitChain& chain) {
  Reference list = Reference::steal(PyList_New(0));
  for (const std::string& name : chain) {
    const Reference text = Reference::steal(PyUnicode_DecodeUTF8(
        name.data(), static_cast<Py_ssize_t>(name.size()), "backslashreplace"));
    if (!list || !text || PyList_Append(list.get(), text.get()) != 0) return {};
  }
  return list;
}

PyObject* waiting(PyObject* /*module*/, PyObject* /*unused*/) {
  Reference chains = Reference::steal(PyList_New(0));
  for (const WaitChain& chain : waiting_chains()) {
    const Reference list = to_list(chain);
    if (!chains || !list || PyList_Append(chains.get(), list.get()) != 0) return nullptr;
  }
  return chains.release();
}

}  // namespace

bool add_host_functions(PyObject* module) {
  static std::array<PyMethodDef, 8> functions{
      {{"attach", method(attach), METH_VARARGS | METH_KEYWORDS,
        "attach(*, num_workers=0, queue_size=10000, overflow='reject', sys_path=(), preload=(), "
        "use_subinterpreters=False, allow_unsafe_subinterpreters=False, num_subinterp_workers=0, "
        "keyboard_interrupt=False)"},
       {"shutdown", method(shut_down), METH_VARARGS | METH_KEYWORDS,
        "shutdown(*, drain=5.0, interrupt=True, grace=5.0): in seconds."},
       {"is_initialized", is_initialized, METH_NOARGS, nullptr},
       {"submit", method(submit), METH_FASTCALL,
        "submit(task, refused): a worker calls task(). refused(exception) is called if that never "
        "happens, or does not end well."},
       {"stats", stats, METH_NOARGS, "stats(): what the executor has done and does."},
       {"prometheus_text", stats_text, METH_NOARGS,
        "prometheus_text(): the same for Prometheus, in its text format 0.0.4."},
       {"waiting", waiting, METH_NOARGS, "Chains of names of which each waits for the next."},
       {}}};
  return PyModule_AddFunctions(module, functions.data()) == 0;
}

}  // namespace unirun::python
