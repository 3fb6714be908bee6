// OwnThread marks a thread that settles tasks and is nobody's but the executor's: of deadlines, of
// worker processes. What follows a task may run there, and must not wait for the thread to end.

#pragma once

namespace unirun::python {

class OwnThread {
 public:
  OwnThread() { is_here_ = true; }
  ~OwnThread() { is_here_ = false; }
  OwnThread(const OwnThread&) = delete;
  OwnThread& operator=(const OwnThread&) = delete;

  [[nodiscard]] static bool is_here() { return is_here_; }

 private:
  inline static thread_local bool is_here_ = false;
};

}  // namespace unirun::python
