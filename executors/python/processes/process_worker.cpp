#include "executors/python/processes/process_worker.h"

#include "executors/python/python.h"
// Python.h first.

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "executors/python/calls/call_task.h"
#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/interpreter/interpreter.h"
#include "executors/python/interpreter/interpreter_trial.h"
#include "executors/python/processes/message_channel.h"
#include "executors/python/processes/remote_functions.h"
#include "executors/python/processes/worker_process.h"
#include "executors/python/python_executor.h"
#include "executors/python/values/typed_value.h"
#include "framework/clock.h"
#include "framework/event_loop.h"

namespace unirun::python {
namespace {

// Once its owner is gone it has so long: code may hold the GIL for ever.
constexpr unsigned orphan_seconds = 10;

class ProcessWorker {
 public:
  // Returns to a Python that has called this, which then ends it.
  void live();

 private:
  void on_question(std::uint64_t id, Question question);
  [[nodiscard]] Result<Value> configure(const Value& body);
  [[nodiscard]] Result<Value> try_interpreters(const Value& body);
  void call(std::uint64_t id, Value body);
  void interrupt();
  void answer(std::uint64_t id, Result<Value> outcome);

  [[nodiscard]] Result<void> start(const PythonExecutor::Config& config);

  // In a Python that runs already; else there is none yet.
  const bool has_host_ = Py_IsInitialized() != 0;
  std::optional<GILRelease> released_;
  SystemClock clock_;
  EventLoop loop_{clock_};
  MessageChannel channel_{
      loop_,
      worker_socket,
      {.on_question = [this](std::uint64_t id,
                             Question question) { on_question(id, std::move(question)); },
       .on_closed = [this] { loop_.stop(); }}};
  // Never destroyed: threads may ask for them until the process ends.
  RemoteFunctions& functions_ =
      *new RemoteFunctions([this](Question question, MessageChannel::OnAnswer on_answer) {
        auto asked = std::make_shared<std::pair<Question, MessageChannel::OnAnswer>>(
            std::move(question), std::move(on_answer));
        loop_.post([this, asked] {
          channel_.ask(std::move(asked->first.word), std::move(asked->first.body),
                       std::move(asked->second));
        });
      });
  std::optional<Error> refusal_ =
      Error{.code = Errc::not_initialized, .message = "a worker process is configured first"};
  std::map<std::uint64_t, Shared<TaskState>> calls_;
};

void ProcessWorker::answer(std::uint64_t id, Result<Value> outcome) {
  calls_.erase(id);
  channel_.answer(id, std::move(outcome));
}

void ProcessWorker::on_question(std::uint64_t id, Question question) {
  if (question.word == "configure") return channel_.answer(id, configure(question.body));
  if (question.word == "try_interpreters")
    return channel_.answer(id, try_interpreters(question.body));
  if (question.word == "call") return call(id, std::move(question.body));
  if (question.word == "interrupt") {
    interrupt();
    return channel_.answer(id, Value());
  }
  channel_.answer(id,
                  Error{.code = Errc::unsupported,
                        .message = fmt::format("a worker process knows no '{}'", question.word)});
}

template <class T>
T entry(const Object& object, std::string_view key, T otherwise) {
  const Value* const value = object.find(key);
  if (value == nullptr) return otherwise;
  auto read = from_value<T>(*value);
  return read.ok() ? *std::move(read) : otherwise;
}

Result<void> set_sys_path(const std::vector<std::string>& paths) {
  const Reference list = Reference::steal(PyList_New(0));
  if (!list) return error_of_exception();
  for (const std::string& path : paths) {
    const Reference text = Reference::steal(
        PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
    if (!text || PyList_Append(list.get(), text.get()) != 0) return error_of_exception();
  }
  if (PySys_SetObject("path", list.get()) != 0) return error_of_exception();
  return {};
}

Result<void> ProcessWorker::start(const PythonExecutor::Config& config) {
  if (!has_host_) return PythonExecutor::start(config);
  released_.reset();
  auto attached = PythonExecutor::attach(config);
  released_.emplace();
  return attached;
}

// Its sys.path is its owner's, whole; so preloading comes afterwards.
Result<Value> ProcessWorker::configure(const Value& body) {
  const Object& given = body.as_object();
  PythonExecutor::Config config{.num_workers = 1};
  config.isolated = entry(given, "isolated", true);
  config.switch_interval =
      std::chrono::microseconds(entry<std::int64_t>(given, "switch_interval_us", 5000));
  config.stack_bytes = entry<std::uint64_t>(given, "stack_bytes", config.stack_bytes);
  config.keyboard_interrupt = entry(given, "keyboard_interrupt", false);
  config.conversion.keep_tuples = entry(given, "keep_tuples", false);
  config.conversion.big_integers_as_text = entry(given, "big_integers_as_text", false);
  static const Converters standard = Converters::standard();
  if (entry(given, "has_converters", false)) config.conversion.converters = &standard;
  FunctionTable::get().set_source(&functions_);
  ::pthread_atfork(nullptr, nullptr, RemoteFunctions::after_fork);
  auto started = start(config);
  if (started.ok()) {
    started = PythonExecutor::submit([&given]() -> Result<void> {
                auto done = set_sys_path(entry(given, "sys_path", std::vector<std::string>()));
                if (!done.ok()) return done;
                return Interpreter::import_all(entry(given, "preload", std::vector<std::string>()));
              }).get();
  }
  if (!started.ok()) {
    refusal_ = started.error();
    return started.error();
  }
  refusal_.reset();
  return Value();
}

Result<Value> ProcessWorker::try_interpreters(const Value& body) {
  if (refusal_) return *refusal_;
  const auto modules = from_value<std::vector<std::string>>(body);
  if (!modules.ok()) return modules.error();
  const auto refusals = try_in_interpreters({.sys_path = Interpreter::sys_path()}, *modules);
  if (!refusals.ok()) return refusals.error();
  Array answer;
  for (const Refusal& refusal : *refusals) answer.push_back(Array{refusal.module, refusal.why});
  return Value(std::move(answer));
}

void ProcessWorker::call(std::uint64_t id, Value body) {
  if (refusal_) return channel_.answer(id, *refusal_);
  Array parts = std::move(body).as_array();
  CallSpec spec{.module = std::move(parts[0]).as_string(),
                .function = std::move(parts[1]).as_string(),
                .args = std::move(parts[2]).as_array(),
                .kwargs = std::move(parts[3]).as_object()};
  const Shared<TaskState> task(new CallTask(
      std::move(spec),
      [this, id](Result<Value> outcome) {
        auto shared = std::make_shared<Result<Value>>(std::move(outcome));
        loop_.post([this, id, shared] { answer(id, std::move(*shared)); });
      },
      Returned::values));
  calls_.emplace(id, task);
  enqueue(task);
}

void ProcessWorker::interrupt() {
  for (const auto& [id, call] : calls_) static_cast<void>(cancel_task(*call));
}

void ProcessWorker::live() {
  if (has_host_) released_.emplace();
  loop_.run();
  channel_.end({.code = Errc::worker_lost, .message = "the host of this worker process is gone"});
  ::alarm(orphan_seconds);
  const bool is_running = PythonExecutor::is_initialized();
  const bool ended =
      !is_running ||
      PythonExecutor::shutdown({.drain = Duration::zero(), .grace = std::chrono::seconds(1)}).ok();
  if (ended && has_host_) return released_.reset();
  if (ended && is_running) static_cast<void>(PythonExecutor::finalize());
  std::fflush(nullptr);
  ::_exit(0);
}

}  // namespace

int run_process_worker() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(worker_socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    std::fputs("This program belongs to unirun::python, which starts it by itself.\n", stderr);
    return 2;
  }
  ::fcntl(worker_socket, F_SETFD, FD_CLOEXEC);
  ::fcntl(lines_socket, F_SETFD, FD_CLOEXEC);
  (new ProcessWorker)->live();  // What still runs must not find it gone.
  return 0;
}

}  // namespace unirun::python
