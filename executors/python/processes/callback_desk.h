// CallbackDesk serves a worker process that calls C++ functions of this one: it takes the lines
// that the process opens, one for each of its threads that calls and waits, and answers what
// comes over the channel for those that await.
//
// Thread: the loop's.

#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "executors/python/callbacks/calling_process.h"
#include "executors/python/processes/callback_line.h"
#include "executors/python/processes/message.h"
#include "framework/event_loop.h"

namespace unirun::python {

class CallbackDesk {
 public:
  using Answerer = std::function<void(std::uint64_t id, Result<Value> outcome)>;

  // Owns the socket over which lines come. `answerer` is called on the loop, while this lives. The
  // threads are begun here, and joined by whoever owns them, after this.
  CallbackDesk(EventLoop& loop, CallbackThreads& threads, int socket, Answerer answerer);
  ~CallbackDesk() { end(); }
  CallbackDesk(const CallbackDesk&) = delete;
  CallbackDesk& operator=(const CallbackDesk&) = delete;

  // The process is no more: closes its lines, and takes back its permits. What runs goes on, and
  // its answer is dropped.
  void end();
  // Of one who awaits.
  void take(std::uint64_t id, Question question);
  // Somebody there waits for a function.
  [[nodiscard]] bool is_busy() const;

 private:
  class Callers;
  class Reply;
  class Way;

  void accept();

  EventLoop& loop_;
  CallbackThreads& threads_;
  int socket_;
  const std::shared_ptr<Way> way_;
  const std::shared_ptr<const CallingProcess> process_ = std::make_shared<CallingProcess>();
  std::shared_ptr<Callers> callers_;                // Once there is one.
  std::vector<std::weak_ptr<CallbackLine>> lines_;  // A line lives as long as its thread.
  Watch watch_;
};

// Sends a descriptor, and receives one: -1 where nothing has come, or it cannot be had; or the
// other end is closed. Thread: any.
[[nodiscard]] bool send_descriptor(int socket, int descriptor);
struct Received {
  int descriptor = -1;
  bool is_closed = false;
};
[[nodiscard]] Received receive_descriptor(int socket);

}  // namespace unirun::python
