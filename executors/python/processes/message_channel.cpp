#include "executors/python/processes/message_channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace unirun::python {

MessageChannel::MessageChannel(EventLoop& loop, int socket, Listener listener)
    : loop_(loop), socket_(socket), listener_(std::move(listener)) {
  watch(Interest::readable);
}

MessageChannel::~MessageChannel() {
  watch_.reset();
  if (socket_ >= 0) ::close(socket_);
}

void MessageChannel::watch(Interest interest) {
  watch_.reset();
  interest_ = interest;
  watch_ = loop_.watch(socket_, interest, [this](Interest seen) { on_ready(seen); });
}

void MessageChannel::end(const Error& error) {
  watch_.reset();
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  for (auto& [id, on_answer] : std::exchange(open_, {})) {
    if (on_answer) on_answer(error);
  }
}

// What is open is answered by end(), which knows more of the reason.
void MessageChannel::close() {
  watch_.reset();
  ::close(std::exchange(socket_, -1));
  listener_.on_closed();
}

void MessageChannel::ask(std::string word, Value body, OnAnswer on_answer) {
  const std::uint64_t id = ++last_id_;
  const auto frame = to_frame({id, Question{std::move(word), std::move(body)}});
  if (!frame) {
    if (on_answer) on_answer(frame.error());
    return;
  }
  open_.emplace(id, std::move(on_answer));
  if (is_open()) send(*frame);
}

void MessageChannel::answer(std::uint64_t id, Result<Value> answer) {
  if (!is_open()) return;
  auto frame = to_frame({id, std::move(answer)});
  if (!frame) frame = to_frame({id, Result<Value>(frame.error())});
  if (frame.ok()) send(*std::move(frame));
}

void MessageChannel::send(std::string frame) {
  if (sent_ > unsent_.size() / 2) unsent_.erase(0, std::exchange(sent_, 0));
  if (unsent_.empty()) {
    unsent_ = std::move(frame);
  } else {
    unsent_ += frame;
  }
  write();
}

void MessageChannel::write() {
  while (sent_ < unsent_.size()) {
    const ssize_t count = ::send(socket_, unsent_.data() + sent_, unsent_.size() - sent_,
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (interest_ != Interest::both) watch(Interest::both);
      return;
    }
    // Its end is told by reading: what it has said before is still to be heard.
    if (count < 0) break;
    sent_ += static_cast<std::size_t>(count);
  }
  unsent_ = {};
  sent_ = 0;
  if (interest_ == Interest::both) watch(Interest::readable);
}

void MessageChannel::on_ready(Interest interest) {
  const auto bits = static_cast<unsigned>(interest);
  if ((bits & static_cast<unsigned>(Interest::writable)) != 0) write();
  if ((bits & static_cast<unsigned>(Interest::readable)) != 0) read();
}

void MessageChannel::read() {
  std::vector<char> bytes(std::size_t{64} << 10);
  while (is_open()) {
    const ssize_t count = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count <= 0) return close();
    reader_.feed({bytes.data(), static_cast<std::size_t>(count)});
    while (is_open()) {
      Result<std::optional<Message>> message = reader_.next();
      if (!message) return close();
      if (!*message) break;
      take(*std::move(*message));
    }
  }
}

void MessageChannel::take(Message message) {
  if (auto* question = std::get_if<Question>(&message.says))
    return listener_.on_question(message.id, std::move(*question));
  const auto found = open_.find(message.id);
  if (found == open_.end()) return;  // Of a question that nobody asked, or too late.
  const OnAnswer on_answer = std::move(found->second);
  open_.erase(found);
  if (on_answer) on_answer(std::get<Result<Value>>(std::move(message.says)));
}

}  // namespace unirun::python
