// ReadyRing holds what is to be called next, first come, first served. It grows, and keeps its
// memory.
//
// Thread: with the GIL; without one (free-threaded builds) each call takes a lock. Owns references.

#pragma once

#include "python_bindings/python.h"

#include <cstddef>
#include <mutex>
#include <vector>

namespace unirun::bindings {

class ReadyRing {
 public:
  ReadyRing() : places_(64) {}

  void push(Reference handle) {
    const Lock lock(mutex_);
    if (count_ == places_.size()) grow();
    places_[(first_ + count_++) & (places_.size() - 1)] = std::move(handle);
  }

  // Nothing if it is empty: another thread or a destructor may have cleared it.
  [[nodiscard]] Reference pop() {
    const Lock lock(mutex_);
    if (count_ == 0) return {};
    Reference handle = std::move(places_[first_]);
    first_ = (first_ + 1) & (places_.size() - 1);
    --count_;
    return handle;
  }

  [[nodiscard]] std::size_t size() const {
    const Lock lock(mutex_);
    return count_;
  }

  void clear() {
    while (pop()) {
    }
  }

  int traverse(visitproc visit, void* arg) const {
    for (std::size_t i = 0; i < count_; ++i) {
      Py_VISIT(places_[(first_ + i) & (places_.size() - 1)].get());
    }
    return 0;
  }

 private:
#ifdef Py_GIL_DISABLED
  using Mutex = std::mutex;
#else
  struct Mutex {
    void lock() {}
    void unlock() {}
  };
#endif
  using Lock = std::lock_guard<Mutex>;

  void grow() {
    std::vector<Reference> larger(places_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) {
      larger[i] = std::move(places_[(first_ + i) & (places_.size() - 1)]);
    }
    places_ = std::move(larger);
    first_ = 0;
  }

  std::vector<Reference> places_;  // As many as a power of two.
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  mutable Mutex mutex_;
};

}  // namespace unirun::bindings
