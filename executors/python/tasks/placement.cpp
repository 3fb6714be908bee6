#include "executors/python/tasks/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

namespace unirun::python {
namespace {

std::vector<int> numbers_of_file(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return numbers_in(line);
}

std::vector<int> numbers_of_set(const cpu_set_t& set) {
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

Status refused(int cpu, const std::string& why) {
  return unirun::Error{unirun::Errc::start_failed,
                       fmt::format("Config::pin: CPU {}: {}; this process may use {}", cpu, why,
                                   fmt::join(usable_cpus(), ", "))};
}

// A set of nodes as the kernel takes it.
constexpr int most_nodes = 1024;
constexpr int word_bits = static_cast<int>(CHAR_BIT * sizeof(unsigned long));
using NodeSet = std::array<unsigned long, most_nodes / word_bits>;

Status not_preferred(int node, const char* call) {
  return unirun::Error{unirun::Errc::start_failed,
                       fmt::format("memory of node {}: {}: {}", node, call, std::strerror(errno))};
}

}  // namespace

std::vector<int> numbers_in(const std::string& list) {
  std::vector<int> numbers;
  std::istringstream text(list);
  int first = 0;
  while (text >> first) {
    int last = first;
    if (text.peek() == '-') text.ignore() >> last;
    for (int number = first; number <= last; ++number) numbers.push_back(number);
    if (text.peek() == ',') text.ignore();
  }
  return numbers;
}

NumaNodes NumaNodes::read(const std::string& folder) {
  NumaNodes nodes;
  for (const int node : numbers_of_file(folder + "/has_cpu")) {
    nodes.ids_.push_back(node);
    nodes.cpus_.push_back(numbers_of_file(fmt::format("{}/node{}/cpulist", folder, node)));
  }
  return nodes;
}

std::optional<int> NumaNodes::node_of(int cpu) const {
  const auto found = std::ranges::find_if(cpus_, [cpu](const std::vector<int>& cpus) {
    return std::ranges::find(cpus, cpu) != cpus.end();
  });
  if (found == cpus_.end()) return std::nullopt;
  return ids_[static_cast<std::size_t>(std::distance(cpus_.begin(), found))];
}

std::vector<int> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(::getpid(), sizeof set, &set) != 0) return {};
  return numbers_of_set(set);
}

Status stay_on(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) return refused(cpu, "there is none of this number");
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  if (const int error = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set); error != 0)
    return refused(cpu, std::strerror(error));
  CPU_ZERO(&set);
  if (const int error = ::pthread_getaffinity_np(::pthread_self(), sizeof set, &set); error != 0)
    return refused(cpu, std::strerror(error));
  const std::vector<int> now = numbers_of_set(set);
  if (now != std::vector{cpu})
    return refused(cpu, fmt::format("the thread is on {} instead", fmt::join(now, ", ")));
  return {};
}

Status prefer_memory_of(int node) {
  if (node < 0 || node >= most_nodes) {
    errno = EINVAL;
    return not_preferred(node, "its number");
  }
  NodeSet wanted{};
  wanted[static_cast<std::size_t>(node / word_bits)] = 1UL << (node % word_bits);
  if (::syscall(SYS_set_mempolicy, MPOL_PREFERRED, wanted.data(), most_nodes) != 0)
    return not_preferred(node, "set_mempolicy");
  int policy = 0;
  NodeSet now{};
  if (::syscall(SYS_get_mempolicy, &policy, now.data(), most_nodes, nullptr, 0) != 0)
    return not_preferred(node, "get_mempolicy");
  if (policy == MPOL_PREFERRED && now == wanted) return {};
  errno = EINVAL;
  return not_preferred(node, "what was read back is another");
}

}  // namespace unirun::python
