#include "executors/python/contexts/context_table.h"

#include <fmt/format.h>

#include <new>
#include <utility>

#include "executors/python/contexts/context_state.h"

namespace unirun::python {

std::shared_ptr<ContextState> ContextTable::add(BindOptions options,
                                                std::shared_ptr<PythonWorker> worker) {
  const std::lock_guard lock(mutex_);
  last_ = ContextId{static_cast<std::uint64_t>(last_) + 1};
  if (options.name.empty())
    options.name = fmt::format("context-{}", static_cast<std::uint64_t>(last_));
  auto context =
      std::make_shared<ContextState>(*this, last_, std::move(options), std::move(worker));
  contexts_.emplace(last_, context);
  return context;
}

std::shared_ptr<ContextState> ContextTable::find(ContextId id) {
  const std::lock_guard lock(mutex_);
  const auto found = contexts_.find(id);
  return found != contexts_.end() ? found->second.lock() : nullptr;
}

std::vector<std::shared_ptr<ContextState>> ContextTable::all() {
  std::vector<std::shared_ptr<ContextState>> contexts;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, known] : contexts_) {
    if (auto context = known.lock()) contexts.push_back(std::move(context));
  }
  return contexts;
}

void ContextTable::lose(const PythonWorker* worker) {
  for (const auto& context : all()) {
    if (worker == nullptr || &context->worker() == worker) context->lose();
  }
}

void ContextTable::remove(ContextId id) {
  const std::lock_guard lock(mutex_);
  contexts_.erase(id);
}

void ContextTable::forget() {
  new (&mutex_) std::mutex;
  lose(nullptr);
}

}  // namespace unirun::python
