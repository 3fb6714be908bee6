// Whether a test leaves threads behind.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

namespace unirun::test {

// By the kernel's ids, not by number: a thread that was joined can be among them still (the kernel
// lets who joins go on before it takes the thread away), and would hide another, or be missed
// afterwards.
[[nodiscard]] inline std::set<std::string> threads_of_this_process() {
  std::set<std::string> threads;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
    threads.insert(task.path().filename());
  return threads;
}

// Waits at most 20 s for the others to end.
[[nodiscard]] inline bool no_threads_are_left_but(const std::set<std::string>& before) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto left = [&] {
    const auto now = threads_of_this_process();
    return !std::includes(before.begin(), before.end(), now.begin(), now.end());
  };
  while (left() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  return !left();
}

}  // namespace unirun::test
