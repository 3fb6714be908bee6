#include "executors/python/interpreter/interpreter.h"

#include "executors/python/python.h"
// Python.h first.

#include <dlfcn.h>
#include <fmt/format.h>
#include <pthread.h>

#include <atomic>
#include <filesystem>

#include "executors/python/callbacks/native_module.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/graveyard.h"
#include "executors/python/interpreter/has_gil.h"
#include "executors/python/interpreter/import_module.h"
#include "executors/python/interpreter/main_thread.h"
#include "executors/python/interpreter/python_thread.h"
#include "executors/python/tasks/or_hang.h"
#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

struct Started {
  PyThreadState* state = nullptr;  // Of the thread that started it.
  pthread_t thread{};
};

#ifdef Py_GIL_DISABLED
constexpr const char* free_threaded_suffix = "t";
#else
constexpr const char* free_threaded_suffix = "";
#endif

// How long those who are inside have to leave, when a host ends.
constexpr Duration exit_patience = std::chrono::milliseconds(100);

// Null: none, or somebody else's.
Started* started = nullptr;
Interpreter::ExitHook exit_hook = nullptr;  // Of a host's.
std::atomic<bool> finalized{false};

Error error_of(const PyStatus& status) {
  const char* const where = status.func != nullptr ? status.func : "Py_InitializeFromConfig";
  const char* const what = status.err_msg != nullptr ? status.err_msg : "it ended";
  return Error{.code = Errc::python_exception,
               .message = fmt::format("Python does not start: {}: {}", where, what)};
}

// Where the modules of this libpython lie; empty: not beside it. Left to itself Python looks beside
// the first python3 on PATH, which may be of another build.
std::string home_of_library() {
  namespace fs = std::filesystem;
  Dl_info library{};
  void* const symbol = ::dlsym(RTLD_DEFAULT, "Py_InitializeFromConfig");
  if (symbol == nullptr || ::dladdr(symbol, &library) == 0) return {};
  const fs::path landmark = fmt::format("lib/python{}.{}{}/os.py", PY_MAJOR_VERSION,
                                        PY_MINOR_VERSION, free_threaded_suffix);
  std::error_code ignored;
  fs::path folder = fs::canonical(library.dli_fname, ignored);
  while (folder.has_relative_path()) {
    folder = folder.parent_path();
    if (fs::exists(folder / landmark, ignored)) return folder.string();
  }
  return {};
}

// Owns a PyConfig.
class Configuration {
 public:
  explicit Configuration(const InterpreterOptions& options) {
    options.isolated ? PyConfig_InitIsolatedConfig(&config_) : PyConfig_InitPythonConfig(&config_);
    config_.install_signal_handlers = options.install_signal_handlers ? 1 : 0;
    config_.site_import = options.isolated ? 0 : 1;
    config_.parse_argv = 0;
#ifdef Py_GIL_DISABLED
    config_.enable_gil = options.without_gil ? 0 : 1;
#endif
  }
  ~Configuration() { PyConfig_Clear(&config_); }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;

  [[nodiscard]] PyStatus initialize() {
    // Who does not want it isolated wants PYTHONHOME and PATH to be heard.
    if (const std::string home = home_of_library(); config_.isolated != 0 && !home.empty()) {
      const PyStatus set = PyConfig_SetBytesString(&config_, &config_.home, home.c_str());
      if (PyStatus_Exception(set) != 0) return set;
    }
    return Py_InitializeFromConfig(&config_);
  }

 private:
  PyConfig config_{};
};

bool prepend_paths(const std::vector<std::string>& paths) {
  PyObject* const sys_path = PySys_GetObject("path");  // Borrowed.
  if (sys_path == nullptr) return paths.empty();
  Py_ssize_t at = 0;
  for (const std::string& path : paths) {
    const Reference text = Reference::steal(
        PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
    if (!text) return false;
    // From an executor before this one.
    const int is_there = PySequence_Contains(sys_path, text.get());
    if (is_there < 0) return false;
    if (is_there == 0 && PyList_Insert(sys_path, at++, text.get()) != 0) return false;
  }
  return true;
}

// What may differ from one executor to the next.
Result<void> apply(const InterpreterOptions& options) {
  if (prepend_paths(options.sys_path) && Interpreter::set_switch_interval(options.switch_interval))
    return {};
  return error_of_exception();
}

Error has_been_finalized() {
  return Error{.code = Errc::finalized,
               .message =
                   "Python has been finalized, and extension modules do not survive a "
                   "second start: shutdown() alone lets it be used again"};
}

Error belongs_to_parent() {
  return Error{.code = Errc::unsupported,
               .message =
                   "a child of fork() has nothing of its parent's Python but a copy of "
                   "its memory: execute a program instead"};
}

// ---- A host's ----

PyObject* on_exit(PyObject* /*self*/, PyObject* /*unused*/) {
  exit_hook();
  PyThreadState* const state = PyEval_SaveThread();
  Gate::close_for_good(exit_patience);
  MainThread::close();
  or_hang([state] { PyEval_RestoreThread(state); });
  Graveyard::close(0);
  finalized = true;
  Py_RETURN_NONE;
}

// Before the host waits for its threads, which is before it finalizes; where `threading` has no
// such place, among the functions of `atexit`.
bool register_exit_hook() {
  static PyMethodDef definition{"end_of_unirun", on_exit, METH_NOARGS, nullptr};
  const Reference hook = Reference::steal(PyCFunction_New(&definition, nullptr));
  const Reference threading = Reference::steal(PyImport_ImportModule("threading"));
  if (!hook || !threading) return false;
  Reference add = Reference::steal(PyObject_GetAttrString(threading.get(), "_register_atexit"));
  if (!add && PyErr_ExceptionMatches(PyExc_AttributeError) != 0) {
    PyErr_Clear();
    const Reference atexit = Reference::steal(PyImport_ImportModule("atexit"));
    if (!atexit) return false;
    add = Reference::steal(PyObject_GetAttrString(atexit.get(), "register"));
  }
  if (!add) return false;
  return static_cast<bool>(Reference::steal(PyObject_CallOneArg(add.get(), hook.get())));
}

}  // namespace

bool Interpreter::is_running() { return Gate::is_open(); }

bool Interpreter::has_ended() { return finalized; }

Error Interpreter::no_executor() {
  if (finalized) {
    return Error{.code = Errc::finalized,
                 .message = "Python has ended, or is about to, and the PythonExecutor with it"};
  }
  return Error{.code = Errc::not_initialized,
               .message =
                   "the PythonExecutor is not running: call PythonExecutor::initialize() "
                   "first, or it has been shut down"};
}

Result<void> Interpreter::start(const InterpreterOptions& options) {
  if (finalized) return has_been_finalized();
  if (started != nullptr && !Gate::is_open()) return belongs_to_parent();
  if (started != nullptr) {
    const GILGuard guard;
    return apply(options);
  }
  if (Py_IsInitialized() != 0) {
    return Error{.code = Errc::already_initialized,
                 .message =
                     "Python runs already and belongs to somebody else: an extension module "
                     "calls attach_to_host() instead"};
  }
  Configuration configuration(options);
  if (const PyStatus status = configuration.initialize(); PyStatus_Exception(status) != 0)
    return error_of(status);
  auto ready = apply(options);
  if (ready.ok()) ready = install_native_module();
  Gate::open();
  started = new Started{PyEval_SaveThread(), ::pthread_self()};
  return ready;
}

bool Interpreter::is_gil_enabled() {
#ifdef Py_GIL_DISABLED
  const GILGuard guard;
  return guard.attached() && has_gil();
#else
  return true;
#endif
}

Array Interpreter::sys_path() {
  const GILGuard guard;
  PyObject* const here = guard.attached() ? PySys_GetObject("path") : nullptr;  // Borrowed.
  if (here == nullptr || PyList_Check(here) == 0) return {};
  const Reference paths = Reference::steal(PyList_AsTuple(here));  // As it is now.
  Array texts;
  for (Py_ssize_t i = 0; paths && i < PyTuple_GET_SIZE(paths.get()); ++i) {
    auto text = to_value(PyTuple_GET_ITEM(paths.get(), i));
    if (text.ok() && text->is_string()) texts.push_back(*std::move(text));
  }
  return texts;
}

bool Interpreter::set_switch_interval(std::chrono::microseconds interval) {
  const Reference sys = Reference::steal(PyImport_ImportModule("sys"));
  if (!sys) return false;
  const double seconds = std::chrono::duration<double>(interval).count();
  return static_cast<bool>(
      Reference::steal(PyObject_CallMethod(sys.get(), "setswitchinterval", "d", seconds)));
}

Result<void> Interpreter::import_all(const std::vector<std::string>& modules) {
  for (const std::string& module : modules) {
    const Reference name = Reference::steal(PyUnicode_FromString(module.c_str()));
    if (name && import_module(name.get())) continue;
    Error error = error_of_exception();
    error.code = Errc::import_failed;
    error.message = fmt::format("preload: {}: {}", module, error.message);
    return error;
  }
  return {};
}

std::string Interpreter::version() {
  const std::string text = Py_GetVersion();
  return text.substr(0, text.find(' '));
}

Result<void> Interpreter::adopt(const InterpreterOptions& options, ExitHook before_exit) {
  if (finalized) return has_been_finalized();
  if (started != nullptr || Py_IsInitialized() == 0) {
    return Error{.code = started != nullptr ? Errc::already_initialized : Errc::not_initialized,
                 .message =
                     "attach_to_host() is for extension modules of a Python that runs "
                     "already: a program of C++ calls initialize()"};
  }
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    return Error{.code = Errc::wrong_interpreter,
                 .message = "attach_to_host() in a sub-interpreter: call it in the main one"};
  }
  if (exit_hook == nullptr) {
    if (!register_exit_hook()) {
      Error error = error_of_exception();
      error.code = Errc::finalized;
      return error;
    }
    exit_hook = before_exit;
  }
  if (!prepend_paths(options.sys_path) ||
      (options.switch_interval != InterpreterOptions().switch_interval &&
       !set_switch_interval(options.switch_interval)))
    return error_of_exception();
  if (!Gate::is_open()) Gate::open();
  return {};
}

Result<void> Interpreter::finalize(Duration timeout) {
  if (started == nullptr) {
    return Error{.code = finalized ? Errc::finalized : Errc::unsupported,
                 .message = finalized ? "Python has been finalized already"
                                      : "there is no Python that initialize() has started"};
  }
  if (!Gate::is_open()) return belongs_to_parent();
  if (::pthread_equal(started->thread, ::pthread_self()) == 0) {
    return Error{.code = Errc::unsupported,
                 .message = "finalize() belongs on the thread that called initialize()"};
  }
  if (!Gate::close(timeout)) {
    return Error{.code = Errc::stuck,
                 .message =
                     "a thread holds the GIL, or waits for it, in a GILGuard: Python cannot "
                     "be finalized under its feet"};
  }
  MainThread::close();
  PyEval_RestoreThread(started->state);
  Graveyard::close(0);
  const int flushed = Py_FinalizeEx();
  finalized = true;
  delete std::exchange(started, nullptr);
  if (flushed == 0) return {};
  return Error{.code = Errc::python_exception,
               .message = "Python ended, but could not write out what stood in its buffers"};
}

}  // namespace unirun::python
