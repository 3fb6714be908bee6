// JournalDatabase is the journal's file: events, deaths, and a count of every cause of death, in
// SQLite. It knows SQL and nothing of threads, loops or second chances; those are Journal's.
//
// Thread: one at a time. Blocks on the disk.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/event.h"
#include "framework/result.h"
#include "host/death_record.h"

namespace unirun {

struct EventFilter {
  std::uint64_t since = 0;  // Only later ones; 0: the latest ones.
  std::size_t limit = 100;
  std::string path{};                // This place and all below; empty: everywhere.
  std::vector<std::string> kinds{};  // Empty: all.
};

struct JournalLimits {
  std::uint64_t max_events = 200'000;
  std::uint64_t max_deaths = 10'000;
  std::uint64_t max_bytes = std::uint64_t{64} << 20;
};

class JournalDatabase {
 public:
  // What may arrive together goes in together, or not at all.
  struct Batch {
    std::vector<std::shared_ptr<const Event>> events;
    std::vector<DeathRecord> deaths;  // One with a known sequence takes the place of the old.
  };

  JournalDatabase();
  ~JournalDatabase();
  JournalDatabase(const JournalDatabase&) = delete;
  JournalDatabase& operator=(const JournalDatabase&) = delete;

  // Opens or makes `file`; empty: in memory. Errors: io, or unsupported for a file of a later
  // version of unirun, which is left as it is. REQUIRES: not open.
  [[nodiscard]] Status open(const std::string& file);

  [[nodiscard]] Status append(const Batch& batch);

  // Drops the oldest until the limits hold. Cheap when there is nothing to do.
  [[nodiscard]] Status trim(const JournalLimits& limits);

  // Takes over all that `other` holds.
  [[nodiscard]] Status append_all_of(JournalDatabase& other);

  [[nodiscard]] Result<std::uint64_t> last_sequence();
  [[nodiscard]] Result<std::vector<nlohmann::json>> events(const EventFilter& filter);
  [[nodiscard]] Result<std::vector<nlohmann::json>> deaths(const std::string& path,
                                                           std::size_t limit);
  // [{"fingerprint", "count", "first", "last", "reason"}], the most frequent first.
  [[nodiscard]] Result<std::vector<nlohmann::json>> causes(const std::string& path);

  // The last error said that the content itself is damaged: no retry will help.
  [[nodiscard]] bool damaged() const;

  // The file was removed or replaced under us: what is written now is lost at the next start.
  [[nodiscard]] bool lost() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace unirun
