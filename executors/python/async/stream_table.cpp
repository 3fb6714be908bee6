#include "executors/python/async/stream_table.h"

#include <algorithm>
#include <new>
#include <utility>

namespace unirun::python {

void StreamTable::add(const std::shared_ptr<StreamStateBase>& stream) {
  const std::lock_guard lock(mutex_);
  if (streams_.size() >= sweep_at_) {
    std::erase_if(streams_, [](const auto& one) { return one.expired(); });
    sweep_at_ = std::max<std::size_t>(64, 2 * streams_.size());
  }
  streams_.push_back(stream);
}

void StreamTable::end_all(const Error& error) {
  std::vector<std::weak_ptr<StreamStateBase>> streams;
  {
    const std::lock_guard lock(mutex_);
    streams.swap(streams_);
  }
  for (const auto& one : streams) {
    if (const auto stream = one.lock()) stream->end(error);
  }
}

void StreamTable::forget() {
  new (&mutex_) std::mutex;
  new (&streams_) decltype(streams_);
}

}  // namespace unirun::python
