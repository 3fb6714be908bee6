#include "host/cli/event_printer.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "host/cli/render_event.h"

namespace unirun {
namespace {

// Holds the start, or the stop, of 10,000 services even if nobody reads.
constexpr std::size_t capacity = 1 << 15;

constexpr std::size_t piece = std::size_t{64} << 10;  // Bytes of text, give or take a line.

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
    EventQueue::Batch first = queue_->take(Duration::max());
    if (first.empty() && queue_->closed()) return;
    gather();
    EventQueue::Batch rest = queue_->take(Duration::zero());
    std::string text;
    for (auto* batch : {&first, &rest}) {
      for (auto& event : *batch) {
        text += line_of(*event, renderer);
        event.reset();  // A backlog shrinks as it is written.
        if (text.size() >= piece) write(text);
      }
    }
    write(text);
  }
}

void EventPrinter::write(std::string& text) {
  out_ << text << std::flush;  // A reader that has left makes it fail, and nothing else.
  text.clear();
}

}  // namespace unirun
