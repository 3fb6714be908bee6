#include "host/cli/event_printer.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "host/cli/render_event.h"

namespace unirun {
namespace {

constexpr std::size_t capacity = 1 << 16;

// From the first event of a burst to its printing. Nobody sees it; but a thread that is woken for
// every event takes a processor from the very replacement that the events tell of.
constexpr auto gathering = std::chrono::milliseconds{5};

}  // namespace

EventPrinter::EventPrinter(EventBus& bus, std::ostream& out, Format format)
    : queue_(bus.open_queue(EventKinds::all(), capacity, "the log on stdout")),
      out_(out),
      format_(format),
      thread_([this] { run(); }) {}

EventPrinter::~EventPrinter() { finish(); }

void EventPrinter::finish() {
  {
    const std::lock_guard lock(mutex_);
    queue_->close();
  }
  finishing_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::string EventPrinter::line_of(const Event& event, EventRenderer& renderer) const {
  if (format_.as_json) {
    return to_json(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  }
  return severity_of(event) >= format_.least ? renderer.render(event) : std::string();
}

void EventPrinter::gather() {
  std::unique_lock lock(mutex_);
  finishing_.wait_for(lock, gathering, [this] { return queue_->closed(); });
}

void EventPrinter::run() {
  EventRenderer renderer(format_.style);
  while (true) {
    const EventQueue::Batch first = queue_->take(Duration::max());
    if (first.empty() && queue_->closed()) return;
    gather();
    const EventQueue::Batch rest = queue_->take(Duration::zero());
    std::string text;
    for (const auto* batch : {&first, &rest}) {
      for (const auto& event : *batch) text += line_of(*event, renderer);
    }
    out_ << text << std::flush;  // A reader that has left makes it fail, and nothing else.
  }
}

}  // namespace unirun
