// FaultList gathers the faults of one document. What is said about meaning is kept only where the
// shape is right: a fault of shape at a place, or above it, says enough.

#pragma once

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "host/config/config_fault.h"

namespace unirun {

class FaultList {
 public:
  // Begins with the faults of the text: duplicate keys.
  explicit FaultList(std::vector<ConfigFault> faults) : faults_(std::move(faults)) {}

  void add_shape_faults(std::vector<ConfigFault> faults) {
    for (ConfigFault& fault : faults) {
      misshapen_.insert(fault.pointer);
      faults_.push_back(std::move(fault));
    }
  }

  // Dropped if the shape at `fault.pointer`, or above it, is wrong.
  void add(ConfigFault fault) {
    if (!is_misshapen(fault.pointer)) faults_.push_back(std::move(fault));
  }
  void add(std::string pointer, std::string message, std::string nearest = {}) {
    ConfigFault fault;
    fault.pointer = std::move(pointer);
    fault.message = std::move(message);
    if (!nearest.empty()) fault.message += "; did you mean \"" + nearest + "\"?";
    fault.nearest = std::move(nearest);
    add(std::move(fault));
  }

  // Is there a fault of shape at the pointer or above it?
  [[nodiscard]] bool is_misshapen(std::string pointer) const {
    while (misshapen_.count(pointer) == 0) {
      if (pointer.empty()) return false;
      pointer.resize(pointer.rfind('/'));
    }
    return true;
  }

  [[nodiscard]] bool has_shape_faults() const { return !misshapen_.empty(); }

  // Was a word not understood that other faults are judged by?
  [[nodiscard]] bool has_misread_word() const {
    return std::any_of(misshapen_.begin(), misshapen_.end(), [](const std::string& pointer) {
      const std::string key = pointer.substr(pointer.rfind('/') + 1);
      return key == "restart" || key == "auto_shutdown" || key == "condition";
    });
  }

  [[nodiscard]] bool empty() const { return faults_.empty(); }
  [[nodiscard]] std::vector<ConfigFault> take() { return std::move(faults_); }

 private:
  std::vector<ConfigFault> faults_;
  std::unordered_set<std::string> misshapen_;
};

}  // namespace unirun
