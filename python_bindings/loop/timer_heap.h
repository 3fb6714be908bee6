// TimerHeap holds scheduled TimerHandles by their time, equal ones by their start. Cancelling only
// counts; cancelled handles are swept out when they come to the front or are the majority.
//
// Thread: the loop's, with the GIL. Owns references.

#pragma once

#include "python_bindings/python.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace unirun::bindings {

class TimerHeap {
 public:
  // `when` in seconds of the loop's clock.
  void push(double when, Reference handle);

  void note_cancelled() { ++cancelled_; }

  // The time of the first that is not cancelled; infinity if there is none.
  [[nodiscard]] double next();

  // Takes the first one off if it is due at `now`: else nothing.
  [[nodiscard]] Reference take_due(double now);

  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] std::size_t size() const { return heap_.size(); }

  void clear();
  int traverse(visitproc visit, void* arg) const;

 private:
  struct Entry {
    double when;
    std::uint64_t order;
    Reference handle;
  };

  static bool fires_later(const Entry& a, const Entry& b) {
    return a.when != b.when ? a.when > b.when : a.order > b.order;
  }
  Reference pop();
  void sweep();

  std::vector<Entry> heap_;
  std::uint64_t last_order_ = 0;
  std::size_t cancelled_ = 0;
};

}  // namespace unirun::bindings
