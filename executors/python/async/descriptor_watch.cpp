#include "executors/python/async/descriptor_watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace unirun::python {
namespace {

constexpr std::uint64_t the_end = 0;  // As an id; the first of the others is 1.

unirun::Error failure(const char* call) {
  return unirun::Error::from_errno(errno, std::string(call) + " for descriptors of asyncio's");
}

bool control(int epoll, int what, int descriptor, std::uint32_t events, std::uint64_t id) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll, what, descriptor, &event) == 0;
}

}  // namespace

// REQUIRES: the lock.
unirun::Status DescriptorWatch::start() {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  end_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || end_ < 0 || !control(epoll_, EPOLL_CTL_ADD, end_, EPOLLIN, the_end))
    return failure("epoll");
  auto thread = ServiceThread::start("py-descriptors", [this, epoll = epoll_] { run(epoll); });
  if (!thread.ok()) return thread.error();
  thread_.emplace(std::move(*thread));
  return {};
}

unirun::Result<DescriptorWatch::Id> DescriptorWatch::add(int descriptor,
                                                         std::function<void()> on_readable) {
  const std::lock_guard lock(mutex_);
  if (!thread_) {
    if (const auto started = start(); !started.ok()) {
      for (int* const opened : {&epoll_, &end_}) {
        if (*opened >= 0) ::close(std::exchange(*opened, -1));
      }
      return started.error();
    }
  }
  const std::uint64_t id = ++last_;
  // Of none: it waits for look().
  if (!control(epoll_, EPOLL_CTL_ADD, descriptor, EPOLLONESHOT, id)) return failure("epoll_ctl()");
  watched_.emplace(id, Watched{descriptor, std::move(on_readable)});
  return Id{id};
}

void DescriptorWatch::look(Id id) {
  const auto key = static_cast<std::uint64_t>(id);
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(key);
  if (found == watched_.end()) return;
  static_cast<void>(
      control(epoll_, EPOLL_CTL_MOD, found->second.descriptor, EPOLLIN | EPOLLONESHOT, key));
}

void DescriptorWatch::remove(Id id) {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(static_cast<std::uint64_t>(id));
  if (found == watched_.end()) return;
  static_cast<void>(control(epoll_, EPOLL_CTL_DEL, found->second.descriptor, 0, the_end));
  watched_.erase(found);
}

void DescriptorWatch::stop() {
  std::optional<ServiceThread> thread;
  std::array<int, 2> opened{};
  {
    const std::lock_guard lock(mutex_);
    if (!thread_) return;
    thread.swap(thread_);
    watched_.clear();
    const std::uint64_t once = 1;
    static_cast<void>(::write(end_, &once, sizeof once));
    opened = {std::exchange(epoll_, -1), std::exchange(end_, -1)};
  }
  thread->join();
  for (const int descriptor : opened) ::close(descriptor);
}

void DescriptorWatch::run(int epoll) {
  std::array<epoll_event, 16> events{};
  for (;;) {
    const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    const std::lock_guard lock(mutex_);
    for (int at = 0; at < ready; ++at) {
      const std::uint64_t id = events.at(static_cast<std::size_t>(at)).data.u64;
      if (id == the_end) return;
      const auto found = watched_.find(id);
      if (found != watched_.end()) found->second.on_readable();
    }
  }
}

}  // namespace unirun::python
