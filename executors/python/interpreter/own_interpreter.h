// OwnInterpreter is an interpreter beside the main one, with a GIL of its own, for the thread that
// starts it: afterwards that thread's GILGuards mean this one.
//
// Thread: the one that starts it, and not attached, but for a Visit; its memory may go anywhere.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "executors/python/error.h"
#include "framework/doorbell.h"

namespace unirun::python {

struct OwnInterpreterOptions {
  Array sys_path{};  // Whole.
  std::vector<std::string> preload{};
  std::chrono::microseconds switch_interval{5000};
};

class OwnInterpreter {
 public:
  // It is to be ended. Errors: unsupported, below Python 3.12, or with CPython's words;
  // import_failed of a preload.
  [[nodiscard]] static Result<std::unique_ptr<OwnInterpreter>> start(
      const OwnInterpreterOptions& options);
  ~OwnInterpreter() = default;
  OwnInterpreter(const OwnInterpreter&) = delete;
  OwnInterpreter& operator=(const OwnInterpreter&) = delete;

  // Ends it, once: waits for visits, and for threads that its Python code has started.
  void end();

  [[nodiscard]] std::int64_t id() const { return id_; }

  // Holds its GIL on another thread, in a state made for that; the GIL which that thread held is
  // let go of meanwhile. REQUIRES: it outlives the visit.
  class Visit {
   public:
    explicit Visit(OwnInterpreter& interpreter);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    // False: it is ending, and no Python of its is to be touched.
    [[nodiscard]] bool attached() const { return state_ != nullptr; }

   private:
    OwnInterpreter& interpreter_;
    PyThreadState* outer_ = nullptr;
    PyThreadState* state_ = nullptr;
  };

 private:
  explicit OwnInterpreter(PyThreadState* state);
  [[nodiscard]] static Result<void> equip(const OwnInterpreterOptions& options);
  [[nodiscard]] bool enter();
  void leave();

  PyThreadState* const state_;
  const std::int64_t id_;
  std::atomic<bool> closing_{false};
  std::atomic<std::size_t> visits_{0};
  Doorbell left_;
};

}  // namespace unirun::python
