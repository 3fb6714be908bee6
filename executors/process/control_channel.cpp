#include "executors/process/control_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <utility>

namespace unirun {

ControlChannel::ControlChannel(EventLoop& loop, UniqueFd socket,
                               std::function<void(const nlohmann::json&)> on_message,
                               std::function<void(const std::string& what)> on_garbage)
    : loop_(loop),
      socket_(std::move(socket)),
      on_message_(std::move(on_message)),
      on_garbage_(std::move(on_garbage)) {
  watch(Interest::readable);
}

void ControlChannel::watch(Interest interest) {
  watch_.reset();
  interest_ = interest;
  watch_ = loop_.watch(socket_.get(), interest, [this](Interest seen) { on_ready(seen); });
}

void ControlChannel::close() {
  watch_.reset();
  socket_.reset();
}

void ControlChannel::close_for(const std::string& what) {
  close();
  on_garbage_(what);
}

void ControlChannel::on_ready(Interest interest) {
  const auto bits = static_cast<unsigned>(interest);
  if ((bits & static_cast<unsigned>(Interest::readable)) != 0) read();
  if (socket_ && (bits & static_cast<unsigned>(Interest::writable)) != 0) write();
}

void ControlChannel::read() {
  constexpr int max_reads = 64;
  char bytes[16384];
  for (int i = 0; i < max_reads && socket_; ++i) {
    const ssize_t count = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    // Closed by the worker. That is not its death: only the kernel tells that.
    if (count <= 0) return close();
    reader_.feed({bytes, static_cast<std::size_t>(count)});
    while (socket_) {
      nlohmann::json message;
      const Result<bool> read = reader_.next(message);
      if (!read) return close_for(read.error().message);
      if (!*read) break;
      on_message_(message);
    }
    if (static_cast<std::size_t>(count) < sizeof bytes) return;
  }
}

void ControlChannel::send(const nlohmann::json& message) {
  if (!socket_) return;
  const Result<std::string> frame = encode_frame(message);
  if (!frame) return close_for(frame.error().message);
  if (queued_.size() + frame->size() > max_queued) {
    return close_for("the worker does not read what it is sent");
  }
  queued_ += *frame;
  write();
}

void ControlChannel::write() {
  while (!queued_.empty()) {
    const ssize_t count =
        ::send(socket_.get(), queued_.data(), queued_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (interest_ != Interest::both) watch(Interest::both);
      return;
    }
    if (count < 0) return close();
    queued_.erase(0, static_cast<std::size_t>(count));
  }
  queued_.shrink_to_fit();
  if (interest_ == Interest::both) watch(Interest::readable);
}

}  // namespace unirun
