// StreamTable knows the streams that have begun: one whose generator waits for its reader is told
// by nobody else that the executor ends.
//
// Thread: any.

#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "executors/python/async/stream_state.h"

namespace unirun::python {

class StreamTable {
 public:
  void add(const std::shared_ptr<StreamStateBase>& stream);
  // Whatever was made can still be read; `error` comes after it, and the generator is dropped.
  void end_all(const Error& error);
  // In a child of fork().
  void forget();

 private:
  std::mutex mutex_;  // Guards the rest. No stream is ended or dropped within.
  std::vector<std::weak_ptr<StreamStateBase>> streams_;
  std::size_t sweep_at_ = 64;
};

}  // namespace unirun::python
