#include "framework/event_size.h"

namespace unirun {
namespace {

// Of the members that may be long. The others are names.
template <class Payload>
std::size_t text_of(const Payload& payload) {
  std::size_t bytes = 0;
  if constexpr (requires { payload.reason; }) bytes += text_in_bytes(payload.reason);
  if constexpr (requires { payload.message; }) bytes += payload.message.size();
  if constexpr (requires { payload.stack; }) bytes += payload.stack.size();
  if constexpr (requires { payload.text; }) bytes += payload.text.size();
  if constexpr (requires { payload.what; }) bytes += payload.what.size();
  if constexpr (requires { payload.extra; }) {
    for (const auto& [name, value] : payload.extra) bytes += name.size() + value.size();
  }
  return bytes;
}

}  // namespace

std::size_t text_in_bytes(const ExitReason& reason) {
  std::size_t bytes = reason.detail.size() + reason.stacks.size();
  if (reason.exception) {
    bytes += reason.exception->message.size() + reason.exception->traceback.size();
  }
  return bytes;
}

std::size_t size_in_bytes(const Event& event) {
  return sizeof event + event.path.size() +
         std::visit([](const auto& payload) { return text_of(payload); }, event.payload);
}

}  // namespace unirun
