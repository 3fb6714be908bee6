// DescriptorWatch tells when descriptors are readable, once each time that it is asked to look: for
// whoever sleeps on something else. It has one thread, which begins with the first of them.
//
// Thread: any, but for the end, which is the owner's.

#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "executors/thread/service_thread.h"
#include "framework/result.h"

namespace unirun::python {

class DescriptorWatch {
 public:
  enum class Id : std::uint64_t { none = 0 };

  DescriptorWatch() = default;
  DescriptorWatch(const DescriptorWatch&) = delete;
  DescriptorWatch& operator=(const DescriptorWatch&) = delete;
  ~DescriptorWatch() { stop(); }

  // `on_readable` is called under the lock of this, and must neither wait nor throw. Nobody looks
  // yet. Errors: no thread or no descriptor can be had, or this one cannot be watched.
  [[nodiscard]] unirun::Result<Id> add(int descriptor, std::function<void()> on_readable);
  // From now on it is looked at, until it was readable.
  void look(Id id);
  // Afterwards nothing is called for it.
  void remove(Id id);
  // Ends the thread, and forgets all. The next add() begins anew.
  void stop();

 private:
  struct Watched {
    int descriptor;
    std::function<void()> on_readable;
  };

  [[nodiscard]] unirun::Status start();
  void run(int epoll);

  std::mutex mutex_;  // Guards the rest.
  int epoll_ = -1;
  int end_ = -1;  // An eventfd.
  std::unordered_map<std::uint64_t, Watched> watched_;
  std::uint64_t last_ = 0;
  std::optional<ServiceThread> thread_;
};

}  // namespace unirun::python
