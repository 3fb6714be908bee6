// Where a worker is to be: on a CPU, and its memory on the node of that CPU, where the machine has
// nodes (NUMA).
//
// Thread: any, but for what is said of the calling one.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/result.h"

namespace unirun::python {

// What became of memory by nodes.
struct NumaReport {
  std::vector<int> nodes;   // Of this machine, those that have CPUs.
  bool is_applied = false;  // Each worker's memory comes from its CPU's node, while that has any.
  std::string reason;       // Why, or why not: "no-op, one node".
};

// The nodes of a machine, and whose CPUs are whose.
class NumaNodes {
 public:
  // As the kernel shows them in `folder`. None where it shows none.
  [[nodiscard]] static NumaNodes read(const std::string& folder = "/sys/devices/system/node");

  [[nodiscard]] const std::vector<int>& ids() const { return ids_; }
  // Nothing: it is on none.
  [[nodiscard]] std::optional<int> node_of(int cpu) const;

 private:
  std::vector<int> ids_;
  std::vector<std::vector<int>> cpus_;  // Of each.
};

// The numbers in "0-3,8,10-11", as the kernel writes them.
[[nodiscard]] std::vector<int> numbers_in(const std::string& list);

// That this process may use.
[[nodiscard]] std::vector<int> usable_cpus();

// Keeps the calling thread on `cpu`, and reads back that it stays there. Errors: start_failed, with
// the CPU and those there are.
[[nodiscard]] Status stay_on(int cpu);

// Has the calling thread's memory come from `node` while that has any, and reads back that it does.
// Errors: start_failed, as where a sandbox forbids it.
[[nodiscard]] Status prefer_memory_of(int node);

}  // namespace unirun::python
