#include "executors/in_process/loop_gate.h"

#include <memory>
#include <utility>

namespace unirun {

bool LoopGate::post(std::function<void()> function) {
  return pass([&] { loop_->post(std::move(function)); });
}

bool LoopGate::call(std::function<void()> function) {
  const auto called = std::make_shared<std::atomic<bool>>(false);
  post([this, called, function = std::move(function)] {
    // Through the gate: nothing is called any more for one whom its closing has sent away.
    pass([&] {
      function();
      called->store(true);
      bell_.ring();
    });
  });
  while (!bell_.wait(Duration::max(), [&] { return called->load() || closed_.load(); })) {
  }
  return called->load();
}

void LoopGate::close() {
  {
    const std::lock_guard lock(mutex_);
    loop_ = nullptr;
  }
  closed_.store(true);
  bell_.ring();
}

}  // namespace unirun
