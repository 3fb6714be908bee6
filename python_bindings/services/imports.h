// Imports remembers which targets have been imported in this process: those need no preparation
// when they start again.
//
// Thread: any.

#pragma once

#include <mutex>
#include <set>
#include <string>

namespace unirun::bindings {

class Imports {
 public:
  void add(const std::string& target) {
    const std::lock_guard lock(mutex_);
    targets_.insert(target);
  }
  [[nodiscard]] bool has(const std::string& target) const {
    const std::lock_guard lock(mutex_);
    return targets_.count(target) > 0;
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::string> targets_;  // Guarded by `mutex_`.
};

}  // namespace unirun::bindings
