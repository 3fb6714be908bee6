// EventPrinter writes events as they come, on a thread of its own: whoever reads the output may be
// slow, or stop reading, and supervision goes on. What does not fit its queue is counted and said.

#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <ostream>
#include <thread>

#include "framework/event.h"
#include "framework/event_bus.h"
#include "host/cli/text_style.h"

namespace unirun {

class EventRenderer;

class EventPrinter {
 public:
  struct Format {
    bool as_json = false;             // One event a line, all of them.
    Severity least = Severity::info;  // Of what people are shown.
    TextStyle style;
  };

  // `out` outlives the printer, and is the printer's alone until finish(). Thread: the bus's.
  EventPrinter(EventBus& bus, std::ostream& out, Format format);
  ~EventPrinter();
  EventPrinter(const EventPrinter&) = delete;
  EventPrinter& operator=(const EventPrinter&) = delete;

  // Waits until everything that was published has been written.
  void finish();

 private:
  void run();
  void gather();
  void write(std::string& text);
  [[nodiscard]] std::string line_of(const Event& event, EventRenderer& renderer) const;

  std::shared_ptr<EventQueue> queue_;
  std::ostream& out_;
  Format format_;
  std::mutex mutex_;
  std::condition_variable finishing_;  // The queue is closed: gather no longer.
  std::thread thread_;                 // Last: it uses all the others.
};

}  // namespace unirun
