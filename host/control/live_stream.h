// LiveStream is one client that follows: first what has been, then what comes, without a gap and
// without anything twice. What it cannot take is counted and said; nobody waits for it.
//
// Thread: the control server's loop.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/control/http_server.h"

namespace unirun {

class LiveStream {
 public:
  struct Item {
    std::string source;  // Numbers grow within a source.
    std::uint64_t number = 0;
    std::string kind;  // "service_exited": the `event:` of the stream.
    std::string text;  // JSON.
  };
  // Asks for the next page of what has been, after this number; 0 is the first page.
  using AskForPage = std::function<void(std::uint64_t after)>;

  // Without `ask_for_page` there is no past. It may be called from here on until on_closed.
  explicit LiveStream(Exchange exchange, AskForPage ask_for_page = {});

  void start();
  void add(Item item);  // It happened just now.
  void add_page(std::vector<Item> items, bool last);
  void add_dropped(std::uint64_t count);  // Lost before they came here.
  void caught_up();                       // The client took all that it was sent.
  void fail(const std::string& message);  // The past cannot be had; the stream ends.

 private:
  void send(const Item& item);

  Exchange exchange_;
  AskForPage ask_for_page_;
  bool in_the_past_;
  bool page_is_due_ = false;
  std::uint64_t last_paged_ = 0;
  std::vector<Item> meanwhile_;                               // What came while the past was told.
  std::unordered_map<std::string, std::uint64_t> last_sent_;  // By source.
  std::uint64_t dropped_ = 0;
};

}  // namespace unirun
