#include "executors/process/frames.h"

#include <fmt/format.h>

namespace unirun {
namespace {

constexpr std::size_t head = 4;

std::size_t length_in(const char* bytes) {
  std::size_t length = 0;
  for (std::size_t i = head; i-- > 0;) {
    length = (length << 8) | static_cast<unsigned char>(bytes[i]);
  }
  return length;
}

}  // namespace

Result<std::string> encode_frame(const nlohmann::json& message) {
  const std::string body = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (body.size() > max_frame) {
    return Error{
        Errc::invalid_argument,
        fmt::format("a message of {} bytes; at most {} fit into a frame", body.size(), max_frame)};
  }
  std::string frame;
  frame.reserve(head + body.size());
  for (std::size_t i = 0; i < head; ++i) {
    frame.push_back(static_cast<char>((body.size() >> (8 * i)) & 0xff));
  }
  frame += body;
  return frame;
}

Result<bool> FrameReader::next(nlohmann::json& message) {
  const std::size_t available = buffer_.size() - read_;
  if (available < head) {
    drop_what_was_read();
    return false;
  }
  const std::size_t length = length_in(buffer_.data() + read_);
  if (length > max_frame) {
    return Error{Errc::invalid_argument,
                 fmt::format("a frame of {} bytes; at most {} are allowed", length, max_frame)};
  }
  if (available < head + length) {
    drop_what_was_read();
    return false;
  }
  const std::string_view body(buffer_.data() + read_ + head, length);
  message = nlohmann::json::parse(body, nullptr, false);
  read_ += head + length;
  if (!message.is_object()) {
    return Error{Errc::invalid_argument, "a frame that holds no JSON object"};
  }
  return true;
}

void FrameReader::drop_what_was_read() {
  if (read_ == 0) return;
  buffer_.erase(0, read_);
  read_ = 0;
  if (buffer_.empty()) buffer_ = {};
}

}  // namespace unirun
