#include "host/journal/journal_database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "host/json_text.h"

namespace unirun {
namespace {

// One version is one step of the schema; a file says in user_version how many it has taken.
constexpr int schema_version = 1;
constexpr const char* schema = R"(
  CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    wall     INTEGER NOT NULL,  -- ns since 1970
    kind     TEXT NOT NULL,
    path     TEXT NOT NULL,
    json     TEXT NOT NULL);
  CREATE INDEX events_by_path ON events (path, sequence);
  CREATE TABLE deaths (
    sequence    INTEGER PRIMARY KEY,  -- of its service_exited event
    wall        INTEGER NOT NULL,
    path        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    json        TEXT NOT NULL);
  CREATE INDEX deaths_by_path ON deaths (path, sequence);
  CREATE TABLE causes (  -- outlives the deaths it counts
    path        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    count       INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (path, fingerprint)) WITHOUT ROWID;
)";

// Small caches: the host's memory is for services. NORMAL: a power cut may cost the last events, a
// killed host none.
constexpr const char* settings = R"(
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  PRAGMA cache_size = -128;
  PRAGMA wal_autocheckpoint = 256;
  PRAGMA journal_size_limit = 1048576;
)";

// How long another process (a backup, a curious sqlite3) may hold the file before we give up.
constexpr int busy_timeout_ms = 200;

std::int64_t nanoseconds(WallTime time) { return time.time_since_epoch().count(); }
std::string shown(std::int64_t wall) { return format_wall_time(WallTime{Duration{wall}}); }

struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

std::optional<FileIdentity> identity_of(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

// Runs `step` in a transaction.
template <class Step>
void in_transaction(SQLite::Database& database, Step step) {
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  step();
  transaction.commit();
}

// " AND kind IN (?4, ?5)" for two kinds.
std::string kinds_condition(std::size_t count, int first_parameter) {
  if (count == 0) return {};
  std::string condition = " AND kind IN (";
  for (std::size_t i = 0; i < count; ++i) {
    condition += (i == 0 ? "?" : ", ?") + std::to_string(first_parameter + static_cast<int>(i));
  }
  return condition + ")";
}

std::vector<nlohmann::json> json_rows(SQLite::Statement& statement) {
  std::vector<nlohmann::json> rows;
  while (statement.executeStep()) {
    rows.push_back(nlohmann::json::parse(statement.getColumn(0).getString(), nullptr, false));
  }
  return rows;
}

}  // namespace

struct JournalDatabase::Impl {
  std::string file;
  std::optional<FileIdentity> identity;
  bool damaged = false;
  std::optional<SQLite::Database> database;
  // Prepared once: they run for every event.
  std::optional<SQLite::Statement> insert_event, insert_death, count_cause, knows_death;

  // The one place where SQLite's exceptions become values.
  template <class Call>
  auto guarded(Call call) -> Result<decltype(call())> {
    try {
      if constexpr (std::is_void_v<decltype(call())>) {
        call();
        return {};
      } else {
        return call();
      }
    } catch (const SQLite::Exception& exception) {
      const int code = exception.getErrorCode();
      damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
      return Error{Errc::io, (file.empty() ? "journal in memory" : file) + ": " + exception.what()};
    } catch (const std::exception& exception) {
      return Error{Errc::io, file + ": " + exception.what()};
    }
  }

  void prepare();
  void insert(const Event& event);
  void insert(const DeathRecord& record);
};

void JournalDatabase::Impl::prepare() {
  insert_event.emplace(*database, "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)");
  knows_death.emplace(*database, "SELECT 1 FROM deaths WHERE sequence = ?");
  insert_death.emplace(*database, "INSERT OR REPLACE INTO deaths VALUES (?, ?, ?, ?, ?)");
  count_cause.emplace(*database,
                      "INSERT INTO causes VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                      "ON CONFLICT (path, fingerprint) DO UPDATE SET count = count + ?3, "
                      "first = min(first, ?4), last = max(last, ?5), reason = ?6");
}

void JournalDatabase::Impl::insert(const Event& event) {
  SQLite::Statement& row = *insert_event;
  row.bind(1, static_cast<std::int64_t>(event.sequence));
  row.bind(2, nanoseconds(event.wall));
  row.bind(3, std::string(to_string(event.kind())));
  row.bindNoCopy(4, event.path);
  row.bind(5, json_text(to_json(event)));
  row.exec();
  row.reset();
}

void JournalDatabase::Impl::insert(const DeathRecord& record) {
  const auto sequence = static_cast<std::int64_t>(record.sequence);
  const std::string fingerprint = record.reason.fingerprint();
  knows_death->bind(1, sequence);
  const bool known = knows_death->executeStep();
  knows_death->reset();

  SQLite::Statement& row = *insert_death;
  row.bind(1, sequence);
  row.bind(2, nanoseconds(record.at));
  row.bindNoCopy(3, record.path);
  row.bindNoCopy(4, fingerprint);
  row.bind(5, json_text(to_json(record)));
  row.exec();
  row.reset();
  if (known) return;  // Counted already.

  SQLite::Statement& cause = *count_cause;
  cause.bindNoCopy(1, record.path);
  cause.bindNoCopy(2, fingerprint);
  cause.bind(3, 1);
  cause.bind(4, nanoseconds(record.at));
  cause.bind(5, nanoseconds(record.at));
  cause.bind(6, record.reason.describe());
  cause.exec();
  cause.reset();
}

JournalDatabase::JournalDatabase() : impl_(std::make_unique<Impl>()) {}
JournalDatabase::~JournalDatabase() = default;

Status JournalDatabase::open(const std::string& file) {
  Impl& impl = *impl_;
  UNIRUN_REQUIRE(!impl.database);
  impl.file = file;
  const Result<int> version = impl.guarded([&] {
    impl.database.emplace(file.empty() ? ":memory:" : file,
                          SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, busy_timeout_ms);
    impl.database->exec(settings);
    return impl.database->execAndGet("PRAGMA user_version").getInt();
  });
  if (!version) return version.error();
  if (*version > schema_version) {
    impl.database.reset();
    return Error{Errc::unsupported, file + " was written by a later unirun (its schema is " +
                                        std::to_string(*version) + ", this one knows " +
                                        std::to_string(schema_version) +
                                        "); move it away or use that version"};
  }
  return impl.guarded([&] {
    if (*version < schema_version) {
      in_transaction(*impl.database, [&] {
        impl.database->exec(schema);
        impl.database->exec("PRAGMA user_version = " + std::to_string(schema_version));
      });
    }
    impl.prepare();
    impl.identity = file.empty() ? std::nullopt : identity_of(file);
  });
}

Status JournalDatabase::append(const Batch& batch) {
  return impl_->guarded([&] {
    in_transaction(*impl_->database, [&] {
      for (const auto& event : batch.events) impl_->insert(*event);
      for (const DeathRecord& record : batch.deaths) impl_->insert(record);
    });
  });
}

Status JournalDatabase::trim(const JournalLimits& limits) {
  return impl_->guarded([&] {
    SQLite::Database& database = *impl_->database;
    const auto number = [&](const char* query) { return database.execAndGet(query).getInt64(); };
    const std::int64_t first = number("SELECT ifnull(min(sequence), 0) FROM events");
    const std::int64_t last = number("SELECT ifnull(max(sequence), 0) FROM events");
    const std::int64_t used = (number("PRAGMA page_count") - number("PRAGMA freelist_count")) *
                              number("PRAGMA page_size");
    std::int64_t keep_after = last - static_cast<std::int64_t>(limits.max_events);
    // Too many bytes: a tenth of the events goes.
    if (used > static_cast<std::int64_t>(limits.max_bytes)) {
      keep_after = std::max(keep_after, first + (last - first) / 10);
    }
    const std::int64_t deaths = number("SELECT count(*) FROM deaths");
    const bool too_many_deaths = deaths > static_cast<std::int64_t>(limits.max_deaths);
    if (keep_after < first && !too_many_deaths) return;
    in_transaction(database, [&] {
      database.exec("DELETE FROM events WHERE sequence <= " + std::to_string(keep_after));
      database.exec(
          "DELETE FROM deaths WHERE sequence NOT IN (SELECT sequence FROM deaths "
          "ORDER BY sequence DESC LIMIT " +
          std::to_string(limits.max_deaths) + ")");
    });
  });
}

Status JournalDatabase::append_all_of(JournalDatabase& other) {
  return impl_->guarded([&] {
    in_transaction(*impl_->database, [&] {
      for (const char* table : {"events", "deaths"}) {
        SQLite::Statement from(*other.impl_->database, std::string("SELECT * FROM ") + table);
        SQLite::Statement into(*impl_->database, std::string("INSERT OR REPLACE INTO ") + table +
                                                     " VALUES (?, ?, ?, ?, ?)");
        while (from.executeStep()) {
          into.bind(1, from.getColumn(0).getInt64());
          into.bind(2, from.getColumn(1).getInt64());
          for (int i = 2; i < 5; ++i) into.bind(i + 1, from.getColumn(i).getString());
          into.exec();
          into.reset();
        }
      }
      SQLite::Statement causes(*other.impl_->database, "SELECT * FROM causes");
      while (causes.executeStep()) {
        SQLite::Statement& cause = *impl_->count_cause;
        cause.bind(1, causes.getColumn(0).getString());
        cause.bind(2, causes.getColumn(1).getString());
        for (int i = 2; i < 5; ++i) cause.bind(i + 1, causes.getColumn(i).getInt64());
        cause.bind(6, causes.getColumn(5).getString());
        cause.exec();
        cause.reset();
      }
    });
  });
}

Result<std::uint64_t> JournalDatabase::last_sequence() {
  return impl_->guarded([&] {
    return static_cast<std::uint64_t>(
        impl_->database->execAndGet("SELECT ifnull(max(sequence), 0) FROM events").getInt64());
  });
}

Result<std::vector<nlohmann::json>> JournalDatabase::events(const EventFilter& filter) {
  return impl_->guarded([&] {
    // Those after `since` are wanted from there on, otherwise the latest.
    const bool forward = filter.since > 0;
    SQLite::Statement query(
        *impl_->database,
        std::string("SELECT json FROM events WHERE sequence > ?1 AND (?2 = '' OR path = ?2 OR "
                    "(path > ?2 || '/' AND path < ?2 || '0'))") +  // '0' comes after '/'.
            kinds_condition(filter.kinds.size(), 4) +
            " ORDER BY sequence " + (forward ? "ASC" : "DESC") + " LIMIT ?3");
    query.bind(1, static_cast<std::int64_t>(filter.since));
    query.bind(2, filter.path);
    query.bind(3, static_cast<std::int64_t>(filter.limit));
    for (std::size_t i = 0; i < filter.kinds.size(); ++i) {
      query.bind(static_cast<int>(i) + 4, filter.kinds[i]);
    }
    std::vector<nlohmann::json> rows = json_rows(query);
    if (!forward) std::reverse(rows.begin(), rows.end());
    return rows;
  });
}

Result<std::vector<nlohmann::json>> JournalDatabase::deaths(const std::string& path,
                                                            std::size_t limit) {
  return impl_->guarded([&] {
    SQLite::Statement query(
        *impl_->database, "SELECT json FROM deaths WHERE path = ? ORDER BY sequence DESC LIMIT ?");
    query.bind(1, path);
    query.bind(2, static_cast<std::int64_t>(limit));
    return json_rows(query);
  });
}

Result<std::vector<nlohmann::json>> JournalDatabase::causes(const std::string& path) {
  return impl_->guarded([&] {
    SQLite::Statement query(*impl_->database,
                            "SELECT fingerprint, count, first, last, reason FROM causes "
                            "WHERE path = ? ORDER BY count DESC, last DESC");
    query.bind(1, path);
    std::vector<nlohmann::json> rows;
    while (query.executeStep()) {
      rows.push_back({{"fingerprint", query.getColumn(0).getString()},
                      {"count", query.getColumn(1).getInt64()},
                      {"first", shown(query.getColumn(2).getInt64())},
                      {"last", shown(query.getColumn(3).getInt64())},
                      {"reason", query.getColumn(4).getString()}});
    }
    return rows;
  });
}

bool JournalDatabase::damaged() const { return impl_->damaged; }

bool JournalDatabase::lost() const {
  return impl_->identity && identity_of(impl_->file) != impl_->identity;
}

}  // namespace unirun
