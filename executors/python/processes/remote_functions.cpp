#include "executors/python/processes/remote_functions.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "executors/python/interpreter/gil_guard.h"
#include "executors/python/processes/callback_desk.h"
#include "executors/python/processes/worker_process.h"
#include "executors/python/tasks/worker.h"

namespace unirun::python {
namespace {

Error host_is_gone() {
  return {.code = Errc::worker_lost,
          .message =
              "the host of this worker process is gone, or has no thread or descriptor left for "
              "one more caller"};
}

// What is known of lines here is the parent's.
std::atomic<bool> is_in_child{false};

Error forked() {
  return {.code = Errc::unsupported,
          .message =
              "a fork of a worker process has no C++ functions: call them in its parent, or "
              "start a process by subprocess or multiprocessing's spawn"};
}

// Never used twice in this process, whatever the line.
std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1) + 1;
}

Question to_run(const std::string& name, Args args, Kwargs kwargs) {
  return {.word = "run",
          .body = Array{name, Value(std::move(args).values()), Value(std::move(kwargs))}};
}

// A thread's line to the host: one question at a time.
class HostLine final : public InterruptibleWait {
 public:
  HostLine() = default;
  ~HostLine() { close(); }
  HostLine(const HostLine&) = delete;
  HostLine& operator=(const HostLine&) = delete;

  // Of this thread. It ends with the thread.
  [[nodiscard]] static HostLine& own() {
    static thread_local HostLine line;
    return line;
  }

  [[nodiscard]] Result<Value> ask(Question question) {
    if (is_in_child.load()) return forked();
    const std::uint64_t id = next_id();
    const auto frame = to_frame({id, std::move(question)});
    if (!frame.ok()) return frame.error();
    if (auto opened = open(); !opened.ok()) return opened.error();
    if (send_whole(socket_, *frame)) return answer_to(id);
    close();
    return host_is_gone();
  }

  // For this question; the host hears nothing more of it.
  void end_early() noexcept override {
    const std::lock_guard lock(mutex_);
    is_cut_ = true;
    if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
  }
  // For the next one. Nobody calls end_early() meanwhile.
  void mend() {
    if (!std::exchange(is_cut_, false)) return;
    close();
  }

 private:
  // Errors: unsupported, with the system's words.
  [[nodiscard]] Result<void> open() {
    if (socket_ >= 0) return {};
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0)
      return Error{.code = Errc::unsupported,
                   .message = std::string("no line to the host: ") + std::strerror(errno)};
    const bool sent = send_descriptor(lines_socket, sockets[1]);
    ::close(sockets[1]);
    const std::lock_guard lock(mutex_);
    socket_ = sockets[0];
    if (is_cut_) ::shutdown(socket_, SHUT_RDWR);
    if (sent) return {};
    ::close(std::exchange(socket_, -1));
    return host_is_gone();
  }

  void close() {
    const std::lock_guard lock(mutex_);
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    reader_ = {};
  }

  [[nodiscard]] Result<Value> answer_to(std::uint64_t id) {
    for (;;) {
      Result<std::optional<Message>> message = reader_.next();
      if (!message.ok()) return message.error();
      if (!*message) {
        if (receive_some(socket_, reader_)) continue;
        close();
        return host_is_gone();
      }
      auto* const outcome = std::get_if<Result<Value>>(&(*message)->says);
      if (outcome != nullptr && (*message)->id == id) return std::move(*outcome);
    }
  }

  std::mutex mutex_;  // Others than its own thread look at the next two.
  int socket_ = -1;
  bool is_cut_ = false;
  MessageReader reader_;
};

// While it lives an interruption of the task that runs on this thread ends what waits at the line.
// With the GIL.
class LineWait {
 public:
  explicit LineWait(HostLine& line) : line_(line) {
    if (worker_ != nullptr) worker_->set_wait(&line_);
  }
  ~LineWait() {
    if (worker_ != nullptr) worker_->set_wait(nullptr);
    line_.mend();
  }
  LineWait(const LineWait&) = delete;
  LineWait& operator=(const LineWait&) = delete;

  // And is told of nowhere else.
  [[nodiscard]] bool is_interrupted() const {
    return worker_ != nullptr && worker_->take_interruption();
  }

 private:
  PythonWorker* const worker_ = PythonWorker::current();
  HostLine& line_;
};

class RemoteFunction final : public NativeFunction {
 public:
  RemoteFunction(RemoteFunctions& all, std::string name, bool is_async)
      : NativeFunction(std::move(name), {.release_gil = false, .async = is_async}), all_(all) {}

  Answer call(Args args, Kwargs kwargs) override {
    return all_.run(name(), std::move(args), std::move(kwargs));
  }
  Answer call_later(Args args, Kwargs kwargs) override {
    return all_.run_later(name(), std::move(args), std::move(kwargs));
  }

 private:
  RemoteFunctions& all_;
};

}  // namespace

Result<std::shared_ptr<NativeFunction>> RemoteFunctions::find(std::string_view name) {
  const auto described =
      HostLine::own().ask({.word = "function", .body = Array{std::string(name)}});
  forget_if_unknown(name, described);
  if (!described.ok()) return described.error();
  const bool is_async = *described == Value(Object{{"async", true}});
  std::shared_ptr<NativeFunction> function =
      std::make_shared<RemoteFunction>(*this, std::string(name), is_async);
  const std::lock_guard lock(mutex_);
  known_.insert_or_assign(std::string(name), function);
  return function;
}

Result<std::shared_ptr<NativeFunction>> RemoteFunctions::recall(std::string_view name) {
  if (is_in_child.load()) return forked();
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(name); found != known_.end()) return found->second;
  }
  return find(name);
}

Result<std::vector<std::string>> RemoteFunctions::names() {
  return value_as<std::vector<std::string>>(HostLine::own().ask({.word = "functions", .body = {}}));
}

void RemoteFunctions::after_fork() { is_in_child.store(true); }

void RemoteFunctions::forget_if_unknown(std::string_view name, const Result<Value>& outcome) {
  if (outcome.ok() || outcome.error().code != Errc::unknown_function) return;
  const std::lock_guard lock(mutex_);
  if (const auto found = known_.find(name); found != known_.end()) known_.erase(found);
}

Result<Value> RemoteFunctions::run(const std::string& name, Args args, Kwargs kwargs) {
  if (is_in_child.load()) return forked();  // Locks are as they were in the parent.
  const Error interrupted{.code = Errc::interrupted};
  HostLine& line = HostLine::own();
  const LineWait wait(line);
  if (wait.is_interrupted()) return interrupted;
  auto outcome = [&] {
    const GILRelease released;
    return line.ask(to_run(name, std::move(args), std::move(kwargs)));
  }();
  if (wait.is_interrupted()) return interrupted;
  forget_if_unknown(name, outcome);
  return outcome;
}

Shared<Outcome<Value>> RemoteFunctions::run_later(const std::string& name, Args args,
                                                  Kwargs kwargs) {
  Shared<Outcome<Value>> later(new detail::LaterValue);
  const auto settle = [this, name, later](Result<Value> outcome) {
    forget_if_unknown(name, outcome);
    if (later->claim(outcome.ok() ? Ending::executed : Ending::failed))
      later->settle(std::move(outcome));
  };
  if (is_in_child.load()) {
    settle(forked());
  } else {
    ask_(to_run(name, std::move(args), std::move(kwargs)), settle);
  }
  return later;
}

}  // namespace unirun::python
