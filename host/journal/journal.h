// Journal keeps what happened beyond the host's life: it observes the bus and writes every event,
// with a record of every death, into a SQLite file.
//
// Supervision never waits for it. One thread of its own does all that touches the disk, asleep
// while nothing happens; what does not fit its bounded queue is counted and left out. A full disk,
// a locked or a removed file make it go on in memory, with a Warning, and try the file again later;
// a damaged file is moved aside and a new one begun.
//
// Thread: the loop's; answers come on the loop.

#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/result.h"
#include "host/death_record.h"
#include "host/journal/journal_database.h"

namespace unirun {

struct JournalOptions {
  std::string file{};  // Empty: in memory only.
  JournalLimits limits{};
  JournalLimits memory_limits{.max_events = 2'000, .max_deaths = 500, .max_bytes = 4 << 20};
  std::size_t queue = 4096;  // Events that may wait to be written, 1 MiB and a KiB each; and so
                             // may as many records of deaths.
  Duration gather = std::chrono::milliseconds{20};  // Between a first event and its writing.
  Duration retry = std::chrono::seconds{30};        // Between two tries of a file that failed.
};

class Journal {
 public:
  using Rows = std::vector<nlohmann::json>;

  // Begins to open the file, on a thread. Both outlive the journal.
  Journal(EventLoop& loop, EventBus& bus, JournalOptions options);
  ~Journal();  // Writes what has come, and waits for that.
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Lets the bus continue the sequence of the file, then records. A file that cannot be used is a
  // Warning. Blocks until the file is open. REQUIRES: nothing published yet.
  void start();

  // Keeps this record; one with the same sequence takes the place of the earlier one.
  void record(DeathRecord record);

  // Both answer behind everything that was published before the call.
  void events(EventFilter filter, std::function<void(Result<Rows>)> answer);
  // {"deaths": [newest first], "causes": [most frequent first]} of one service.
  void deaths(std::string path, std::size_t limit,
              std::function<void(Result<nlohmann::json>)> answer);

  // Nothing is lost any more of what was published before: `done` follows on the loop.
  void flush(std::function<void()> done);

 private:
  class Writer;

  EventLoop& loop_;
  EventBus& bus_;
  std::shared_ptr<Writer> writer_;
  Subscription subscription_;
};

}  // namespace unirun
