#include "host/background_host.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "executors/service_factory.h"
#include "framework/clock.h"
#include "framework/event_loop.h"
#include "framework/require.h"
#include "host/config/host_config.h"

namespace unirun {

class BackgroundHost::Impl {
 public:
  Impl(HostConfig config, const HostOptions& options)
      : loop_(clock_),
        host_(std::move(config), loop_, options),
        python_services_(options.python_services) {}
  ~Impl() {
    request_stop("the host object is gone");
    request_stop("the host object is gone");
    if (thread_.joinable()) thread_.join();
  }

  Status start(bool wait_for_trees);
  void request_stop(const std::string& cause) {
    loop_.post([this, cause] { host_.request_stop(cause); });
  }
  std::optional<HostExit> wait(Duration timeout);
  bool run_on_loop(const std::function<void(Host&)>& function);
  Host& host() { return host_; }
  EventLoop& loop() { return loop_; }
  [[nodiscard]] bool is_running() const { return thread_.joinable(); }

 private:
  SystemClock clock_;
  EventLoop loop_;
  Host host_;
  ServiceFactory* const python_services_;  // May be null.
  std::thread thread_;

  std::mutex mutex_;  // For all below.
  std::condition_variable changed_;
  std::optional<Status> started_;  // Of Host::start().
  std::optional<Status> tried_;    // Whether every tree stands.
  bool loop_ended_ = false;
  std::optional<HostExit> exit_;
};

Status BackgroundHost::Impl::start(bool wait_for_trees) {
  UNIRUN_REQUIRE(!thread_.joinable() && !started_);
  const auto tell = [this](auto change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  };
  loop_.post([this, tell] {
    host_.on_ended([this, tell](HostExit exit) {
      tell([&] { exit_ = exit; });
      loop_.stop();
    });
    host_.on_started([this, tell](const Status& tried) { tell([&] { tried_ = tried; }); });
    Status started = host_.start();
    if (!started) loop_.stop();
    tell([&] { started_ = std::move(started); });
  });
  thread_ = std::thread([this, tell] {
    loop_.run();
    if (python_services_ != nullptr) python_services_->leave(loop_);
    tell([&] { loop_ended_ = true; });
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return started_.has_value(); });
  if (!*started_) {
    lock.unlock();
    thread_.join();
    return *started_;
  }
  if (!wait_for_trees) return {};
  changed_.wait(lock, [&] { return tried_ || exit_; });
  if (!tried_ || tried_->ok()) return {};
  changed_.wait(lock, [&] { return loop_ended_; });
  return *tried_;
}

std::optional<HostExit> BackgroundHost::Impl::wait(Duration timeout) {
  std::unique_lock lock(mutex_);
  const auto ended = [&] { return exit_ && loop_ended_; };
  if (timeout == Duration::max()) {
    changed_.wait(lock, ended);
  } else {
    changed_.wait_for(lock, timeout, ended);
  }
  return ended() ? exit_ : std::nullopt;
}

bool BackgroundHost::Impl::run_on_loop(const std::function<void(Host&)>& function) {
  bool done = false;
  loop_.post([&] {
    function(host_);
    const std::lock_guard lock(mutex_);
    done = true;
    changed_.notify_all();
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done || loop_ended_; });
  return done;
}

BackgroundHost::BackgroundHost(HostConfig config, HostOptions options)
    : impl_(std::make_unique<Impl>(std::move(config), options)) {}
BackgroundHost::~BackgroundHost() = default;

void BackgroundHost::run_before_start(const std::function<void(EventLoop&)>& function) {
  UNIRUN_REQUIRE(!impl_->is_running());
  function(impl_->loop());
}

Status BackgroundHost::start(bool wait_for_trees) { return impl_->start(wait_for_trees); }
void BackgroundHost::request_stop(std::string cause) { impl_->request_stop(cause); }
std::optional<HostExit> BackgroundHost::wait(Duration timeout) { return impl_->wait(timeout); }
HostHandle BackgroundHost::handle() const { return impl_->host().handle(); }
const std::string& BackgroundHost::socket_path() const { return impl_->host().socket_path(); }

std::shared_ptr<EventQueue> BackgroundHost::open_queue(EventKinds kinds, std::size_t capacity,
                                                       std::string name) {
  if (!impl_->is_running()) return impl_->host().events().open_queue(kinds, capacity, name);
  std::shared_ptr<EventQueue> queue;
  impl_->run_on_loop([&](Host& host) { queue = host.events().open_queue(kinds, capacity, name); });
  return queue;
}

bool BackgroundHost::run_on_loop(const std::function<void(Host&)>& function) {
  return impl_->run_on_loop(function);
}

}  // namespace unirun
