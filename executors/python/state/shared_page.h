// SharedPage is memory that several processes see: those to whom its descriptor is handed, and
// children that are forked. It begins as zeros, takes room only where it is written, and cannot
// change its size: nobody can pull it away from under another.
//
// Thread: any. Move-only; what points into it must not outlive it.

#pragma once

#include <cstddef>
#include <span>

#include "executors/python/error.h"

namespace unirun::python {

class SharedPage {
 public:
  // `name` is for people: /proc/PID/maps shows it. Errors: memory_limit.
  [[nodiscard]] static Result<SharedPage> create(const char* name, std::size_t size);

  // Of another process, by a descriptor that stays the caller's. Errors: unsupported, if it is not
  // of a SharedPage; memory_limit.
  [[nodiscard]] static Result<SharedPage> attach(int descriptor);

  SharedPage(SharedPage&& other) noexcept;
  SharedPage& operator=(SharedPage&& other) = delete;
  ~SharedPage();

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  // To be handed on. Its own: closed with the page, and when this process executes another program.
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  SharedPage(std::span<std::byte> bytes, int descriptor) : bytes_(bytes), descriptor_(descriptor) {}
  // Takes the descriptor over.
  static Result<SharedPage> map(int descriptor, std::size_t size);

  std::span<std::byte> bytes_;
  int descriptor_;
};

}  // namespace unirun::python
