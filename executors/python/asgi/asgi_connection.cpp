#include "executors/python/asgi/asgi_connection.h"

#include <fmt/format.h>

#include "executors/python/asgi/asgi_line.h"
#include "executors/python/calls/blocking_call.h"
#include "executors/python/interpreter/gil_guard.h"
#include "framework/doorbell.h"

namespace unirun::python {
namespace {

// Waits on this thread for what calls back. False: until `timeout` it has not.
template <class Wait>
bool wait_here(Duration timeout, Wait wait) {
  struct Call {
    std::atomic<bool> has_come{false};
    Doorbell bell;
  };
  const auto call = std::make_shared<Call>();
  const bool waits = wait([call] {
    call->has_come = true;
    call->bell.ring();
  });
  if (!waits) return true;
  const GILRelease released;
  return call->bell.wait(timeout, [&] { return call->has_come.load(); });
}

Error nothing_within(Duration timeout, const char* what) {
  return {
      .code = Errc::timeout,
      .message = fmt::format("within {} the application has {}", format_duration(timeout), what)};
}

}  // namespace

AsgiConnection::~AsgiConnection() {
  if (line_) disconnect();
}

Task<Result<void>> AsgiConnection::send(AsgiEvent event) {
  AsgiLine& line = *line_;
  const Result<bool> said = line.say(std::move(event));
  if (!said.ok()) co_return said.error();
  if (*said) {
    co_await StreamWait(
        [&line](auto go_on) { return line.to_application().wait_for_room(std::move(go_on)); });
  }
  co_return Result<void>();
}

Task<std::optional<Result<AsgiEvent>>> AsgiConnection::receive() {
  return next_item(line_->to_client(), read_);
}

Result<void> AsgiConnection::send_blocking(AsgiEvent event, Duration timeout) {
  if (const auto may = check_no_loop("AsgiConnection::send_blocking"); !may.ok())
    return may.error();
  const Result<bool> said = line_->say(std::move(event));
  if (!said.ok()) return said.error();
  if (!*said) return {};
  const bool has_room = wait_here(timeout, [this](auto go_on) {
    return line_->to_application().wait_for_room(std::move(go_on));
  });
  if (has_room) return {};
  return nothing_within(timeout, "made no room for more; what was sent is under way");
}

std::optional<Result<AsgiEvent>> AsgiConnection::receive_blocking(Duration timeout) {
  using NextEvent = Result<AsgiEvent>;
  if (const auto may = check_no_loop("AsgiConnection::receive_blocking"); !may.ok())
    return NextEvent(may.error());
  if (read_.empty()) {
    const bool is_there = wait_here(
        timeout, [this](auto wake) { return !line_->to_client().wait_for_items(std::move(wake)); });
    if (!is_there) return NextEvent(nothing_within(timeout, "sent nothing"));
    read_ = line_->to_client().take();
  }
  if (read_.empty()) return std::nullopt;
  std::optional<NextEvent> event(std::move(read_.front()));
  read_.pop_front();
  line_->to_client().read_one();
  return event;
}

void AsgiConnection::disconnect(int code, std::string reason) {
  read_.clear();
  line_->disconnect(code, std::move(reason));
}

}  // namespace unirun::python
