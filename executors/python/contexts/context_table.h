// ContextTable knows the contexts of this process by their ids.
//
// Thread: any. Owns none of them.

#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "executors/python/tasks/task_state.h"

namespace unirun::python {

class ContextState;
class PythonWorker;
struct BindOptions;

class ContextTable {
 public:
  // A new one, to be opened by its first task.
  [[nodiscard]] std::shared_ptr<ContextState> add(BindOptions options,
                                                  std::shared_ptr<PythonWorker> worker);
  // Null: there is none (any more).
  [[nodiscard]] std::shared_ptr<ContextState> find(ContextId id);
  // Those that live on `worker`, or all, will not end, or have.
  void lose(const PythonWorker* worker);
  void remove(ContextId id);
  // In a child of fork(), where no worker is.
  void forget();

 private:
  [[nodiscard]] std::vector<std::shared_ptr<ContextState>> all();

  std::mutex mutex_;  // Guards the rest. No context is dropped within.
  std::unordered_map<ContextId, std::weak_ptr<ContextState>> contexts_;
  ContextId last_ = ContextId::none;
};

}  // namespace unirun::python
