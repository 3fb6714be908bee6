// Values of shared state for other processes of the same user: the owner listens on a socket
// without a file, and a StateLink of a worker process asks there.
//
// On the wire: the server sends one byte with the descriptor of the counters' page; then requests
// and answers of state_service.h, each behind its length (32 bits, as the machine has them).

#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "executors/python/state/shared_state.h"

namespace unirun::python {

// Serves for as long as the process lives, on a thread of its own, and gives the address: one word.
// `state` must live as long. Errors: memory_limit, if there is no descriptor; unsupported, if no
// thread can be had.
[[nodiscard]] Result<std::string> serve_state(const SharedState& state);

// A worker process's way to the owner. Thread: any; one request at a time.
class StateLink {
 public:
  // Errors: worker_lost, if nobody answers at that address who is who it names.
  [[nodiscard]] static Result<StateLink> connect(std::string_view address);

  StateLink(StateLink&& other) noexcept;
  StateLink& operator=(StateLink&&) = delete;
  ~StateLink();

  // Of the counters' page. The link's own.
  [[nodiscard]] int counters_descriptor() const { return counters_; }

  // Waits for the answer: not with the GIL. Errors: worker_lost.
  [[nodiscard]] Result<std::string> ask(std::string_view request);

 private:
  StateLink(int socket, int counters) : socket_(socket), counters_(counters) {}

  std::mutex mutex_;  // Guards the socket.
  int socket_;
  int counters_;
};

}  // namespace unirun::python
