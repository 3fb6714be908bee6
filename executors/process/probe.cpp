#include "executors/process/probe.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace unirun {

// ---- TcpProbe ----

Result<std::unique_ptr<Probe>> TcpProbe::make(EventLoop& loop, const std::string& address,
                                              std::uint16_t port) {
  std::unique_ptr<TcpProbe> probe(new TcpProbe(loop, "tcp"));
  const Status set = probe->set_address(address, port);
  if (!set) return set.error();
  return std::unique_ptr<Probe>(std::move(probe));
}

Status TcpProbe::set_address(const std::string& address, std::uint16_t port) {
  const std::string host = address == "localhost" ? "127.0.0.1" : address;
  auto* four = reinterpret_cast<sockaddr_in*>(&address_);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address_);
  if (::inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    address_length_ = sizeof *four;
    name_ = fmt::format("{}:{}", host, port);
  } else if (::inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    address_length_ = sizeof *six;
    name_ = fmt::format("[{}]:{}", host, port);
  } else {
    return Error{Errc::start_failed,
                 fmt::format("{} probe: '{}' is no address; write it in numbers, as in "
                             "\"127.0.0.1\" or \"::1\"",
                             kind_, address)};
  }
  return {};
}

TcpProbe::~TcpProbe() { loop_.cancel_timer(deadline_); }

void TcpProbe::ask(Duration timeout, OnAnswer on_answer) {
  UNIRUN_REQUIRE(!on_answer_);
  on_answer_ = std::move(on_answer);
  const Instant now = loop_.clock().now();
  socket_.reset(
      ::socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  const int connected =
      !socket_ ? -1
               : ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address_), address_length_);
  if (connected < 0 && errno != EINPROGRESS) {
    deadline_ =
        loop_.start_timer(now, [this, text = failure(std::strerror(errno))] { answer(text); });
    return;
  }
  // Told by the loop even where the connection stands at once: never from within ask().
  wait_for(Interest::writable, [this] { on_connected(); });
  deadline_ = loop_.start_timer(now + timeout, [this, timeout] { on_late(timeout); });
}

void TcpProbe::on_late(Duration timeout) {
  answer(failure("no answer in " + format_duration(timeout)));
}

void TcpProbe::wait_for(Interest interest, std::function<void()> on_ready) {
  watch_.reset();
  watch_ = loop_.watch(socket_.get(), interest,
                       [on_ready = std::move(on_ready)](Interest) { on_ready(); });
}

std::string TcpProbe::failure(std::string_view what) const {
  return fmt::format("{} {}: {}", kind_, name_, what);
}

void TcpProbe::on_connected() {
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return answer(failure(std::strerror(error)));
  // A connection to a port of the ephemeral range may meet itself, with nobody listening.
  sockaddr_storage own{};
  length = sizeof own;
  ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&own), &length);
  if (length == address_length_ && std::memcmp(&own, &address_, length) == 0) {
    return answer(failure("nobody listens"));
  }
  on_open();
}

void TcpProbe::answer(std::optional<std::string> failure) {
  loop_.cancel_timer(std::exchange(deadline_, TimerId::none));
  watch_.reset();
  socket_.reset();
  const OnAnswer on_answer = std::exchange(on_answer_, nullptr);
  on_answer(std::move(failure));
}

// ---- ExecProbe ----

// A command under way. It is kept by the watch on its death until it is reaped, whoever asked.
struct ExecProbe::Running {
  Running(EventLoop& a_loop, Children& some_children, SpawnedProcess a_process)
      : loop(a_loop), children(some_children), process(std::move(a_process)) {
    children.insert(process.pid);
  }

  void kill() const {
    ::kill(process.pid, SIGKILL);
    loop.cancel_timer(deadline);
  }

  void on_died(const std::string& name) {
    death.reset();
    siginfo_t ended{};
    ::waitid(P_PID, static_cast<id_t>(process.pid), &ended, WEXITED | WNOHANG);
    children.erase(process.pid);
    loop.cancel_timer(deadline);
    const OnAnswer answer = std::exchange(on_answer, nullptr);
    if (!answer) return;
    if (timed_out) return answer(fmt::format("exec '{}': no end within its timeout", name));
    if (ended.si_code != CLD_EXITED) {
      return answer(fmt::format("exec '{}': ended by signal {}", name, ended.si_status));
    }
    if (ended.si_status != 0) {
      return answer(fmt::format("exec '{}': exit code {}", name, ended.si_status));
    }
    answer(std::nullopt);
  }

  EventLoop& loop;
  Children& children;
  SpawnedProcess process;
  OnAnswer on_answer;
  TimerId deadline = TimerId::none;
  bool timed_out = false;
  Watch death;
};

ExecProbe::ExecProbe(EventLoop& loop, Children& children, std::string name, Start start)
    : loop_(loop), children_(children), name_(std::move(name)), start_(std::move(start)) {}

ExecProbe::~ExecProbe() {
  loop_.cancel_timer(not_started_);
  if (!running_) return;
  running_->on_answer = nullptr;
  if (running_->death) running_->kill();
}

void ExecProbe::ask(Duration timeout, OnAnswer on_answer) {
  UNIRUN_REQUIRE(!running_ || !running_->on_answer);
  auto process = start_();
  const Instant now = loop_.clock().now();
  if (!process) {
    not_started_ = loop_.start_timer(
        now, [on_answer = std::move(on_answer), failure = process.error().message] {
          const OnAnswer answer = on_answer;  // It may destroy the probe, but not this timer.
          answer(failure);
        });
    return;
  }
  running_ = std::make_shared<Running>(loop_, children_, std::move(*process));
  running_->on_answer = std::move(on_answer);
  running_->death =
      loop_.watch(running_->process.pidfd.get(), Interest::readable,
                  [running = running_, name = name_](Interest) { running->on_died(name); });
  running_->deadline = loop_.start_timer(now + timeout, [weak = std::weak_ptr(running_)] {
    const auto running = weak.lock();
    if (!running || !running->death) return;
    running->timed_out = true;
    ::kill(running->process.pid, SIGKILL);
  });
}

// ---- ProbeLoop ----

ProbeLoop::ProbeLoop(EventLoop& loop, std::unique_ptr<Probe> probe, Rhythm rhythm,
                     OnAnswer on_answer)
    : loop_(loop),
      rhythm_(rhythm),
      on_answer_(std::make_shared<const OnAnswer>(std::move(on_answer))),
      probe_(std::move(probe)) {
  ask_after(rhythm_.first_after);
}

ProbeLoop::~ProbeLoop() {
  *alive_ = false;
  loop_.cancel_timer(timer_);
}

void ProbeLoop::ask_after(Duration wait) {
  timer_ = loop_.start_timer(loop_.clock().now() + wait, [this] {
    timer_ = TimerId::none;
    probe_->ask(rhythm_.timeout, [this](std::optional<std::string> failure) {
      const auto alive = alive_;
      const auto on_answer = on_answer_;
      const bool more = (*on_answer)(failure);
      if (*alive && more) ask_after(rhythm_.interval);
    });
  });
}

}  // namespace unirun
