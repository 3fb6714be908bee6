#include "executors/in_process/loop_gate.h"

#include <utility>

namespace unirun {

bool LoopGate::post(std::function<void()> function) {
  return pass([&] { loop_->post(std::move(function)); });
}

void LoopGate::close() {
  const std::lock_guard lock(mutex_);
  loop_ = nullptr;
}

}  // namespace unirun
