#include "executors/python/processes/callback_line.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "executors/python/processes/function_calls.h"
#include "executors/python/tasks/task_calls.h"

namespace unirun::python {

bool send_whole(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

bool receive_some(int socket, MessageReader& reader) {
  std::array<char, 16 << 10> bytes;
  for (;;) {
    const ssize_t count = ::recv(socket, bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    reader.feed({bytes.data(), static_cast<std::size_t>(count)});
    return true;
  }
}

std::shared_ptr<CallbackLine> CallbackLine::start(CallbackThreads& threads, int socket,
                                                  std::shared_ptr<const CallingProcess> process) {
  const std::shared_ptr<CallbackLine> line(new CallbackLine(socket, std::move(process)));
  return threads.start([line] { line->live(); }) ? line : nullptr;
}

CallbackLine::~CallbackLine() { ::close(socket_); }

void CallbackLine::close() { ::shutdown(socket_, SHUT_RDWR); }

// Whoever waits no more has closed the other end.
bool CallbackLine::is_busy() const {
  pollfd line{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  return is_busy_.load() && ::poll(&line, 1, 0) == 0;
}

// Until nobody asks any more, or what comes is none of ours.
void CallbackLine::live() {
  MessageReader reader;
  for (;;) {
    Result<std::optional<Message>> message = reader.next();
    if (!message.ok()) return;
    if (!*message) {
      if (!receive_some(socket_, reader)) return;
      continue;
    }
    auto* const question = std::get_if<Question>(&(*message)->says);
    if (question == nullptr) return;
    is_busy_.store(true);
    auto answer = answer_to(std::move(*question));
    is_busy_.store(false);
    auto frame = to_frame({(*message)->id, std::move(answer)});
    if (!frame.ok()) frame = to_frame({(*message)->id, Result<Value>(frame.error())});
    if (!frame.ok() || !send_whole(socket_, *frame)) return;
  }
}

Result<Value> CallbackLine::answer_to(Question question) {
  FunctionCall call;
  if (auto known = answer_question(std::move(question), call)) return *std::move(known);
  const auto outcome = call.start(process_);
  static_cast<void>(wait_until_settled(*outcome, Instant::max()));
  return for_elsewhere(outcome->take_outcome());
}

}  // namespace unirun::python
