// ControlChannel is the host's end of the socket pair to a worker: frames (frames.h) of JSON both
// ways, never blocking. What they say: worker_message.h.
//
// Thread: the loop's. Garbage closes the channel and is told; it never harms the host.

#pragma once

#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "executors/process/frames.h"
#include "executors/process/unique_fd.h"
#include "framework/event_loop.h"

namespace unirun {

class ControlChannel {
 public:
  // Calls `on_message` for each message; `on_garbage` at most once, when the channel has been
  // closed because of what came. Neither may destroy the channel.
  ControlChannel(EventLoop& loop, UniqueFd socket,
                 std::function<void(const nlohmann::json&)> on_message,
                 std::function<void(const std::string& what)> on_garbage);

  // Sends what can be sent now and keeps the rest for later. Nothing happens once it is closed.
  void send(const nlohmann::json& message);

  // Takes what has arrived. Bounded, so that a worker that never stops talking cannot keep us.
  void read();

 private:
  static constexpr std::size_t max_queued = std::size_t{64} << 20;

  void on_ready(Interest interest);
  void write();
  void watch(Interest interest);
  void close();
  void close_for(const std::string& what);

  EventLoop& loop_;
  UniqueFd socket_;
  std::function<void(const nlohmann::json&)> on_message_;
  std::function<void(const std::string&)> on_garbage_;
  FrameReader reader_;
  std::string queued_;  // On its way to the worker.
  Interest interest_ = Interest::readable;
  Watch watch_;  // After the socket: it ends first.
};

}  // namespace unirun
