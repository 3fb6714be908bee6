#include "framework/descriptor_watches.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace unirun {
namespace {

std::uint32_t epoll_events(Interest interest) {
  const auto bits = static_cast<unsigned>(interest);
  return ((bits & 1u) != 0 ? EPOLLIN : 0u) | ((bits & 2u) != 0 ? EPOLLOUT : 0u);
}

}  // namespace

struct DescriptorWatches::Watched {
  std::function<void(Interest)> on_ready;
  DescriptorWatches* home;  // Null: the loop is gone, and the memory is all that is left.
  Watched* before = nullptr;
  Watched* after = nullptr;
  int descriptor;
  Interest interest;
  bool ended = false;
  unsigned calls = 0;  // Of `on_ready` that have not returned: until then it must live.

  // What was seen. An error or a hang-up shows when one reads or writes.
  [[nodiscard]] Interest seen(std::uint32_t events) const {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) return interest;
    return static_cast<Interest>(((events & EPOLLIN) != 0 ? 1 : 0) |
                                 ((events & EPOLLOUT) != 0 ? 2 : 0));
  }
};

// What is being told; null where the watch has ended meanwhile.
struct DescriptorWatches::Batch {
  std::array<epoll_event, 128> events;  // More are told in the next turn.
  int count = 0;
  Batch* outer = nullptr;

  void forget(const Watched& watched) {
    for (int i = 0; i < count; ++i) {
      if (events[static_cast<std::size_t>(i)].data.ptr == &watched) {
        events[static_cast<std::size_t>(i)].data.ptr = nullptr;
      }
    }
  }
};

DescriptorWatches::DescriptorWatches() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ >= 0) return;
  std::fprintf(stderr, "event loop: epoll_create1: %s\n", std::strerror(errno));
  std::abort();
}

DescriptorWatches::~DescriptorWatches() {
  while (first_ != nullptr) {
    Watched& watched = *std::exchange(first_, first_->after);
    watched.home = nullptr;
    if (first_ != nullptr) first_->before = nullptr;
    // What a function owns may end watches, this one too.
    ++watched.calls;
    watched.on_ready = nullptr;
    if (--watched.calls == 0 && watched.ended) delete &watched;
  }
  ::close(epoll_);
}

Result<Watch> DescriptorWatches::add(int descriptor, Interest interest,
                                     std::function<void(Interest)> on_ready) {
  auto watched = std::make_unique<Watched>(
      Watched{std::move(on_ready), this, nullptr, first_, descriptor, interest});
  epoll_event event{epoll_events(interest), {watched.get()}};
  int non_blocking = 1;
  if (::ioctl(descriptor, FIONBIO, &non_blocking) < 0 ||
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) < 0) {
    return Error::from_errno(errno, "watch descriptor " + std::to_string(descriptor) +
                                        " (an open one, one watch each, and no regular file)");
  }
  if (first_ != nullptr) first_->before = watched.get();
  first_ = watched.get();
  // A plain pointer: std::function holds it without memory of its own.
  return Watch([mine = watched.release()] {
    mine->ended = true;
    if (mine->home != nullptr) return mine->home->end(*mine);
    if (mine->calls == 0) delete mine;
  });
}

void DescriptorWatches::end(Watched& watched) noexcept {
  epoll_event ignored{};
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, watched.descriptor, &ignored);
  for (Batch* batch = telling_; batch != nullptr; batch = batch->outer) batch->forget(watched);
  (watched.before != nullptr ? watched.before->after : first_) = watched.after;
  if (watched.after != nullptr) watched.after->before = watched.before;
  if (watched.calls == 0) delete &watched;
}

void DescriptorWatches::tell() noexcept {
  Batch batch;
  batch.outer = std::exchange(telling_, &batch);
  batch.count = ::epoll_wait(epoll_, batch.events.data(), static_cast<int>(batch.events.size()), 0);
  for (int i = 0; i < batch.count; ++i) {
    const epoll_event event = batch.events[static_cast<std::size_t>(i)];
    if (event.data.ptr == nullptr) continue;
    auto& watched = *static_cast<Watched*>(event.data.ptr);
    ++watched.calls;
    watched.on_ready(watched.seen(event.events));
    if (--watched.calls == 0 && watched.ended) delete &watched;
  }
  telling_ = batch.outer;
}

}  // namespace unirun
