// Frames carry messages over a byte stream: a length (u32, little endian), then that many bytes of
// UTF-8 JSON.
//
// Values; no thread of their own.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "framework/result.h"

namespace unirun {

inline constexpr std::size_t max_frame = std::size_t{16} << 20;

// What is not UTF-8 in `message` is replaced. Errors: longer than max_frame.
[[nodiscard]] Result<std::string> encode_frame(const nlohmann::json& message);

class FrameReader {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }

  // True: `message` is the next one, always an object. False: it has not arrived whole yet.
  // Errors: too long, no JSON, or no object; nothing can be read after that.
  [[nodiscard]] Result<bool> next(nlohmann::json& message);

 private:
  void drop_what_was_read();

  std::string buffer_;
  std::size_t read_ = 0;  // Bytes at the front of `buffer_` that are done with.
};

}  // namespace unirun
