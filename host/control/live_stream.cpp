#include "host/control/live_stream.h"

#include <utility>

namespace unirun {
namespace {

// How much may happen while a client is still told of the past.
constexpr std::size_t most_meanwhile = 10'000;

}  // namespace

LiveStream::LiveStream(Exchange exchange, AskForPage ask_for_page)
    : exchange_(std::move(exchange)),
      ask_for_page_(std::move(ask_for_page)),
      in_the_past_(static_cast<bool>(ask_for_page_)) {}

void LiveStream::start() {
  if (in_the_past_) ask_for_page_(0);
}

void LiveStream::add(Item item) {
  if (!in_the_past_) return send(item);
  if (meanwhile_.size() < most_meanwhile) {
    meanwhile_.push_back(std::move(item));
  } else {
    ++dropped_;
  }
}

void LiveStream::add_page(std::vector<Item> items, bool last) {
  for (const Item& item : items) {
    send(item);
    last_paged_ = item.number;
  }
  if (last) {
    in_the_past_ = false;
    for (const Item& item : std::exchange(meanwhile_, {})) send(item);
  } else if (exchange_.drained()) {
    ask_for_page_(last_paged_);
  } else {
    page_is_due_ = true;  // When the client has taken this one.
  }
}

void LiveStream::add_dropped(std::uint64_t count) {
  dropped_ += count;
  caught_up();
}

void LiveStream::caught_up() {
  if (dropped_ > 0) {
    const std::string notice =
        "event: observer_dropped\ndata: {\"event\":\"observer_dropped\",\"observer\":\"this "
        "stream\",\"count\":" +
        std::to_string(dropped_) + "}\n\n";
    if (exchange_.write(notice)) dropped_ = 0;
  }
  if (std::exchange(page_is_due_, false)) ask_for_page_(last_paged_);
}

void LiveStream::fail(const std::string& message) {
  (void)exchange_.write("event: error\ndata: " + message + "\n\n");
  exchange_.close();
}

void LiveStream::send(const Item& item) {
  std::uint64_t& last = last_sent_[item.source];
  if (item.number <= last) return;  // Told already, as past.
  last = item.number;
  const std::string piece = "id: " + std::to_string(item.number) + "\nevent: " + item.kind +
                            "\ndata: " + item.text + "\n\n";
  if (!exchange_.write(piece)) ++dropped_;
}

}  // namespace unirun
