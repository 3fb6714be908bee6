// Ref owns one Python object for C++: it is copied, moved and dropped on any thread, with the GIL
// or without, and the object dies in the interpreter to which it belongs.
//
// Thread: any, each Ref one at a time; steal() and borrow() with the GIL of the interpreter.

#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

// As Python.h has it, which a user of these headers need not include.
using PyObject = struct _object;

namespace unirun::python {

class Ref {
 public:
  Ref() = default;  // Of nothing.
  // Takes the caller's reference over, or makes one of its own. Null gives a Ref of nothing.
  [[nodiscard]] static Ref steal(PyObject* object);
  [[nodiscard]] static Ref borrow(PyObject* object);

  Ref(const Ref& other) : held_(other.held_) {
    if (held_ != nullptr) held_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  Ref(Ref&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~Ref() {
    if (held_ != nullptr && held_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) drop(held_);
  }

  explicit operator bool() const { return held_ != nullptr; }

  // Borrowed; null for a Ref of nothing, for an object that does not belong to the interpreter
  // whose GIL this thread holds, and where it holds none.
  [[nodiscard]] PyObject* get() const;

  // Borrowed, whatever the thread: to pass on, not to touch.
  [[nodiscard]] PyObject* pointer() const { return held_ != nullptr ? held_->object : nullptr; }

  // Of the interpreter, as Python numbers them: 0 is the main one; -1 for a Ref of nothing.
  [[nodiscard]] std::int64_t interpreter_id() const {
    return held_ != nullptr ? held_->interpreter_id : -1;
  }

  // The same object of Python's.
  friend bool operator==(const Ref& one, const Ref& other) {
    return one.pointer() == other.pointer();
  }

 private:
  struct Held {
    std::atomic<std::uint32_t> owners{1};
    PyObject* object;
    std::int64_t interpreter_id;
  };

  explicit Ref(Held* held) : held_(held) {}
  static void drop(Held* held) noexcept;

  Held* held_ = nullptr;
};

}  // namespace unirun::python
