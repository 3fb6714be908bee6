// Probe asks a service one question from outside: does it accept (TcpProbe), does it answer
// (HttpProbe, http_probe.h), does a command end with 0 (ExecProbe)? ProbeLoop asks again and again.
//
// Thread: the loop's. Destroying a probe or its loop calls off what is under way.

#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "executors/process/children.h"
#include "executors/process/spawner.h"
#include "executors/process/unique_fd.h"
#include "framework/event_loop.h"
#include "framework/result.h"

namespace unirun {

class Probe {
 public:
  // Gets what was wrong; nothing if all is well.
  using OnAnswer = std::function<void(std::optional<std::string> failure)>;

  virtual ~Probe() = default;

  // Calls `on_answer` once, after `timeout` at the latest, never from within ask(). It may destroy
  // the probe. REQUIRES: no question is under way.
  virtual void ask(Duration timeout, OnAnswer on_answer) = 0;
};

class TcpProbe : public Probe {
 public:
  // `address` is numeric (IPv4 or IPv6) or "localhost": names are not asked for on the loop.
  [[nodiscard]] static Result<std::unique_ptr<Probe>> make(EventLoop& loop,
                                                           const std::string& address,
                                                           std::uint16_t port);
  ~TcpProbe() override;
  void ask(Duration timeout, OnAnswer on_answer) override;

 protected:
  TcpProbe(EventLoop& loop, const char* kind) : loop_(loop), kind_(kind) {}

  [[nodiscard]] Status set_address(const std::string& address, std::uint16_t port);
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int socket() const { return socket_.get(); }

  // The connection stands: the answer, unless there is more to ask.
  virtual void on_open() { answer(std::nullopt); }
  // The time is up. Nothing has been answered.
  virtual void on_late(Duration timeout);
  // From now on the loop calls `on_ready` for `interest`.
  void wait_for(Interest interest, std::function<void()> on_ready);
  // The last word; the probe may be gone after it.
  void answer(std::optional<std::string> failure);
  [[nodiscard]] std::string failure(std::string_view what) const;

 private:
  void on_connected();

  EventLoop& loop_;
  const char* const kind_;  // "tcp"
  std::string name_;        // "127.0.0.1:7001"
  sockaddr_storage address_{};
  socklen_t address_length_ = 0;
  OnAnswer on_answer_;
  UniqueFd socket_;
  Watch watch_;
  TimerId deadline_ = TimerId::none;
};

class ExecProbe final : public Probe {
 public:
  // Starts the command, in the service's own group.
  using Start = std::function<Result<SpawnedProcess>()>;

  ExecProbe(EventLoop& loop, Children& children, std::string name, Start start);
  ~ExecProbe() override;
  void ask(Duration timeout, OnAnswer on_answer) override;

 private:
  struct Running;

  EventLoop& loop_;
  Children& children_;
  const std::string name_;
  const Start start_;
  std::shared_ptr<Running> running_;
  TimerId not_started_ = TimerId::none;  // Tells that the command could not be started.
};

class ProbeLoop {
 public:
  struct Rhythm {
    Duration first_after{};
    Duration interval{};
    Duration timeout{};
  };

  // Calls `on_answer` after each answer, until it returns false or destroys the loop.
  using OnAnswer = std::function<bool(const std::optional<std::string>& failure)>;

  ProbeLoop(EventLoop& loop, std::unique_ptr<Probe> probe, Rhythm rhythm, OnAnswer on_answer);
  ~ProbeLoop();
  ProbeLoop(const ProbeLoop&) = delete;
  ProbeLoop& operator=(const ProbeLoop&) = delete;

 private:
  void ask_after(Duration wait);

  EventLoop& loop_;
  const Rhythm rhythm_;
  // Shared with the answer under way, which may destroy this loop.
  const std::shared_ptr<const OnAnswer> on_answer_;
  TimerId timer_ = TimerId::none;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<Probe> probe_;
};

}  // namespace unirun
