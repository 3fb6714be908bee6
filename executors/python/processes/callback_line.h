// CallbackLine is the host's end of a line to one thread of a worker process, which calls C++
// functions of this one and waits. It has a thread of its own that stands for that caller: a
// function On::caller runs there, and different callers do not hold each other up.
//
// Thread: any. Its thread keeps it, and with it the socket, until the other end is closed.

#pragma once

#include <atomic>
#include <memory>
#include <string_view>
#include <utility>

#include "executors/python/callbacks/calling_process.h"
#include "executors/python/error.h"
#include "executors/python/processes/callback_threads.h"
#include "executors/python/processes/message.h"

namespace unirun::python {

class CallbackLine {
 public:
  // Owns the socket. Null: no thread can be had, and the caller finds its line closed.
  [[nodiscard]] static std::shared_ptr<CallbackLine> start(
      CallbackThreads& threads, int socket, std::shared_ptr<const CallingProcess> process);
  ~CallbackLine();
  CallbackLine(const CallbackLine&) = delete;
  CallbackLine& operator=(const CallbackLine&) = delete;

  // Its caller waits for a function. Not one that was interrupted.
  [[nodiscard]] bool is_busy() const;
  // Nothing more is taken or answered.
  void close();

 private:
  CallbackLine(int socket, std::shared_ptr<const CallingProcess> process)
      : socket_(socket), process_(std::move(process)) {}
  void live();
  [[nodiscard]] Result<Value> answer_to(Question question);

  const int socket_;
  const std::shared_ptr<const CallingProcess> process_;
  std::atomic<bool> is_busy_{false};
};

// Sends all of it: true; false where nobody hears it any more. Blocks. Thread: any.
[[nodiscard]] bool send_whole(int socket, std::string_view bytes);
// Adds what has come to `reader`, or waits for it: false where nothing comes any more.
[[nodiscard]] bool receive_some(int socket, MessageReader& reader);

}  // namespace unirun::python
