#include "executors/thread/service_thread.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

#include "framework/require.h"

namespace unirun {
namespace {

struct Start {
  std::string name;
  std::function<void()> body;
};

void* run(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  ::pthread_setname_np(::pthread_self(), start->name.c_str());
  start->body();
  return nullptr;
}

// A blocked SIGSEGV would end the host without a handler's last word.
sigset_t all_but_own_faults() {
  sigset_t set;
  ::sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    ::sigdelset(&set, fault);
  }
  return set;
}

Error no_thread(int error) {
  std::string message = fmt::format("pthread_create: {}", std::strerror(error));
  if (error == EAGAIN) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NPROC, &limit);
    const std::string most =
        limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur);
    message += fmt::format(
        "; raise what is met first: ulimit -u (now {}), pids.max of the cgroup, or "
        "kernel.threads-max",
        most);
  }
  return Error{Errc::start_failed, std::move(message)};
}

}  // namespace

Result<ServiceThread> ServiceThread::start_with(std::string name, std::function<void()> body,
                                                const SetStack& set_stack) {
  constexpr std::size_t longest_name = 15;
  name.resize(std::min(name.size(), longest_name));
  auto start = std::make_unique<Start>(Start{std::move(name), std::move(body)});
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  const sigset_t blocked = all_but_own_faults();
  ::pthread_attr_setsigmask_np(&attributes, &blocked);
  int error = set_stack(attributes);
  pthread_t thread{};
  if (error == 0) error = ::pthread_create(&thread, &attributes, run, start.get());
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return no_thread(error);
  static_cast<void>(start.release());  // The thread's.
  return ServiceThread(thread);
}

Result<ServiceThread> ServiceThread::start(std::string name, std::function<void()> body,
                                           std::size_t stack_bytes) {
  return start_with(std::move(name), std::move(body), [stack_bytes](pthread_attr_t& attributes) {
    return stack_bytes == 0 ? 0 : ::pthread_attr_setstacksize(&attributes, stack_bytes);
  });
}

Result<ServiceThread> ServiceThread::start(std::string name, std::function<void()> body,
                                           const ThreadStack& stack) {
  return start_with(std::move(name), std::move(body), [&stack](pthread_attr_t& attributes) {
    return ::pthread_attr_setstack(&attributes, stack.lowest(), stack.size());
  });
}

ServiceThread::ServiceThread(ServiceThread&& other) noexcept
    : thread_(std::exchange(other.thread_, std::nullopt)) {}

ServiceThread& ServiceThread::operator=(ServiceThread&& other) noexcept {
  std::swap(thread_, other.thread_);
  return *this;
}

ServiceThread::~ServiceThread() { UNIRUN_REQUIRE(!thread_); }

bool ServiceThread::try_join() {
  if (!thread_) return true;
  if (::pthread_tryjoin_np(*thread_, nullptr) == EBUSY) return false;
  thread_.reset();
  return true;
}

void ServiceThread::join() {
  if (const auto thread = std::exchange(thread_, std::nullopt)) ::pthread_join(*thread, nullptr);
}

void ServiceThread::detach() {
  if (const auto thread = std::exchange(thread_, std::nullopt)) ::pthread_detach(*thread);
}

}  // namespace unirun
