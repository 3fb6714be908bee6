// MessageChannel is one end of the socket between a worker process and its owner: it asks, and
// calls back with the answer; it is asked, and answers in its own time. Never blocking.
//
// Thread: the loop's. Each question has one answer, by end() if there is no other.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "executors/python/processes/message.h"
#include "framework/event_loop.h"

namespace unirun::python {

class MessageChannel {
 public:
  using OnAnswer = std::function<void(Result<Value>)>;
  struct Listener {
    // The other end asks: answer() under this number, soon or later.
    std::function<void(std::uint64_t id, Question)> on_question;
    // The other end has closed, or says what cannot be read. Not after end().
    std::function<void()> on_closed;
  };

  // Owns the socket. Nothing that it calls may destroy it.
  MessageChannel(EventLoop& loop, int socket, Listener listener);
  ~MessageChannel();
  MessageChannel(const MessageChannel&) = delete;
  MessageChannel& operator=(const MessageChannel&) = delete;

  // REQUIRES: end() was not called. What cannot be sent is answered at once. `on_answer` may be
  // empty.
  void ask(std::string word, Value body, OnAnswer on_answer);
  // An answer that cannot be sent goes as its error.
  void answer(std::uint64_t id, Result<Value> answer);

  // Takes what has arrived.
  void read();
  // Answers whatever is open with `error`, and closes.
  void end(const Error& error);
  [[nodiscard]] bool is_open() const { return socket_ >= 0; }

 private:
  void on_ready(Interest interest);
  void take(Message message);
  void send(std::string frame);
  void write();
  void watch(Interest interest);
  void close();

  EventLoop& loop_;
  int socket_;
  Listener listener_;
  MessageReader reader_;
  std::string unsent_;
  std::size_t sent_ = 0;  // Bytes at the front of `unsent_` that are on their way.
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, OnAnswer> open_;
  Interest interest_ = Interest::readable;
  Watch watch_;
};

}  // namespace unirun::python
