#include "host/journal/journal.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>

#include "framework/event_size.h"

namespace unirun {

namespace {

std::size_t size_in_bytes(const DeathRecord& record) {
  std::size_t bytes = sizeof record + record.path.size() + text_in_bytes(record.reason);
  for (const std::string& line : record.last_lines) bytes += sizeof line + line.size();
  for (const std::string& path : record.also_stopped) bytes += sizeof path + path.size();
  return bytes;
}

}  // namespace

// What happens on the journal's thread. Everything below `inbox_` belongs to that thread alone.
class Journal::Writer : public std::enable_shared_from_this<Writer> {
 public:
  Writer(EventLoop& loop, EventBus& bus, JournalOptions options)
      : loop_(loop), bus_(bus), options_(std::move(options)) {}

  // ---- Called on the loop ----

  void start_thread() {
    thread_ = std::thread([this] {
      sigset_t all;
      ::sigfillset(&all);
      ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // They are the loop's.
      opened_.set_value(open());
      run();
    });
  }
  // The sequence to go on from, once the thread has opened the file.
  std::uint64_t wait_until_open() { return opened_.get_future().get(); }
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    arrived_.notify_one();
    if (thread_.joinable()) thread_.join();
    attached_ = nullptr;
  }

  void add(const Event& event);
  void add(DeathRecord record);
  void ask(std::function<void()> task);

  // ---- Called on the journal's thread, by tasks ----
  template <class Query>
  Result<Rows> rows_of(Query query);
  Result<Rows> events(const EventFilter& filter);
  Result<nlohmann::json> deaths(const std::string& path, std::size_t limit);

  // Runs `function` on the loop, unless the journal has gone by then.
  void on_loop(std::function<void()> function) {
    loop_.post([alive = std::weak_ptr<bool>(attached_), function = std::move(function)] {
      if (alive.lock()) function();
    });
  }

 private:
  struct Inbox {
    JournalDatabase::Batch batch;
    std::unordered_map<std::uint64_t, std::size_t> death_places;  // In the batch, by sequence.
    std::size_t event_bytes = 0;
    std::size_t death_bytes = 0;
    std::vector<std::function<void()>> tasks;
    std::uint64_t dropped_events = 0;
    std::uint64_t dropped_deaths = 0;
    [[nodiscard]] bool empty() const {
      return batch.events.empty() && batch.deaths.empty() && tasks.empty();
    }
  };

  // For one more, with `bytes` in all; one is taken however large.
  [[nodiscard]] bool has_room(std::size_t count, std::size_t bytes) const {
    return count == 0 || (count < options_.queue && bytes <= bytes_for(options_.queue));
  }
  std::uint64_t open();
  void run();
  Inbox wait(bool& closing);
  void write(const JournalDatabase::Batch& batch);
  void write_to_memory(const JournalDatabase::Batch& batch);
  void open_file();
  void open_memory();
  void try_file_again();
  void give_up_file(const Error& error);
  void move_damaged_file_aside();
  std::uint64_t last_sequence();
  void warn(std::string what) {
    on_loop([this, what = std::move(what)] { bus_.publish("", Warning{what}); });
  }

  EventLoop& loop_;
  EventBus& bus_;
  const JournalOptions options_;
  std::shared_ptr<bool> attached_ = std::make_shared<bool>(true);  // Until close().
  std::thread thread_;
  std::promise<std::uint64_t> opened_;

  std::mutex mutex_;
  std::condition_variable arrived_;
  bool closing_ = false;   // Guarded by mutex_.
  bool sleeping_ = false;  // Guarded by mutex_: a newcomer has to wake the thread.
  Inbox inbox_;            // Guarded by mutex_.

  // The file stays open for reading while it cannot be written; memory holds what came since.
  std::unique_ptr<JournalDatabase> file_, memory_;
  bool file_writable_ = false;
  std::size_t since_trim_ = 0;
  std::uint64_t not_kept_ = 0;  // Events that neither file nor memory took.
};

void Journal::Writer::add(const Event& event) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    const std::size_t bytes = inbox_.event_bytes + size_in_bytes(event);
    if (!has_room(inbox_.batch.events.size(), bytes)) {
      ++inbox_.dropped_events;
      return;
    }
    inbox_.event_bytes = bytes;
    inbox_.batch.events.push_back(std::make_shared<const Event>(event));
    wake = std::exchange(sleeping_, false);
  }
  if (wake) arrived_.notify_one();
}

void Journal::Writer::add(DeathRecord record) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    auto& waiting = inbox_.batch.deaths;
    const std::size_t bytes = inbox_.death_bytes + size_in_bytes(record);
    if (const auto same = inbox_.death_places.find(record.sequence);
        same != inbox_.death_places.end()) {
      waiting[same->second] = std::move(record);
    } else if (has_room(waiting.size(), bytes)) {
      inbox_.death_bytes = bytes;
      inbox_.death_places.emplace(record.sequence, waiting.size());
      waiting.push_back(std::move(record));
    } else {
      ++inbox_.dropped_deaths;
    }
    wake = std::exchange(sleeping_, false);
  }
  if (wake) arrived_.notify_one();
}

void Journal::Writer::ask(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.tasks.push_back(std::move(task));
    sleeping_ = false;
  }
  arrived_.notify_one();
}

// Sleeps until something comes, then a moment longer, so that a burst becomes one transaction; who
// waits for an answer is not made to wait. Without a writable file it wakes to try that again.
Journal::Writer::Inbox Journal::Writer::wait(bool& closing) {
  std::unique_lock lock(mutex_);
  const auto something = [&] { return closing_ || !inbox_.empty(); };
  sleeping_ = inbox_.empty();
  if (file_writable_ || options_.file.empty()) {
    arrived_.wait(lock, something);
  } else {
    arrived_.wait_for(lock, options_.retry, something);
  }
  arrived_.wait_for(lock, options_.gather, [&] { return closing_ || !inbox_.tasks.empty(); });
  sleeping_ = false;
  closing = closing_;
  return std::exchange(inbox_, {});
}

std::uint64_t Journal::Writer::open() {
  open_file();
  if (!file_writable_) open_memory();
  return last_sequence();
}

void Journal::Writer::run() {
  Instant next_try = loop_.clock().now() + options_.retry;
  for (bool closing = false; !closing;) {
    Inbox inbox = wait(closing);
    const Instant now = loop_.clock().now();
    if (!file_writable_ && !options_.file.empty() && (now >= next_try || closing)) {
      next_try = now + options_.retry;
      try_file_again();
    }
    write(inbox.batch);
    for (const auto& task : inbox.tasks) task();
    if (inbox.dropped_events + inbox.dropped_deaths > 0) {
      warn("the journal fell behind: " + std::to_string(inbox.dropped_events) + " events and " +
           std::to_string(inbox.dropped_deaths) + " records of deaths are not in it");
    }
  }
  file_.reset();
  memory_.reset();
}

void Journal::Writer::write(const JournalDatabase::Batch& batch) {
  if (batch.events.empty() && batch.deaths.empty()) return;
  if (file_writable_ && file_->lost()) {
    warn("the journal " + options_.file + " was removed; a new one is begun");
    file_.reset();
    open_file();
  }
  if (!file_writable_) return write_to_memory(batch);

  Status written = file_->append(batch);
  since_trim_ += batch.events.size();
  if (written.ok() && since_trim_ > 1000) {
    since_trim_ = 0;
    written = file_->trim(options_.limits);
    if (!written.ok()) return give_up_file(written.error());  // The batch is in.
  }
  if (written.ok()) return;
  give_up_file(written.error());
  if (file_writable_) {
    if (const Status again = file_->append(batch); again.ok()) return;
    give_up_file({Errc::io, options_.file + " cannot be written"});
  }
  write_to_memory(batch);
}

void Journal::Writer::write_to_memory(const JournalDatabase::Batch& batch) {
  open_memory();
  if (!memory_->append(batch) || !memory_->trim(options_.memory_limits)) {
    not_kept_ += batch.events.size();
  }
}

void Journal::Writer::open_memory() {
  if (memory_) return;
  memory_ = std::make_unique<JournalDatabase>();
  // Only want of memory can make this fail, and then there is no journal but the live events.
  if (const Status opened = memory_->open(""); !opened) warn(opened.error().message);
}

// Leaves file_writable_ true if all is well; otherwise a warning has been published.
void Journal::Writer::open_file() {
  file_writable_ = false;
  if (options_.file.empty()) return;
  file_ = std::make_unique<JournalDatabase>();
  Status opened = file_->open(options_.file);
  if (!opened && file_->damaged()) {
    move_damaged_file_aside();
    opened = file_->open(options_.file);
  }
  file_writable_ = opened.ok();
  if (opened) return;
  file_.reset();
  warn("the journal is kept in memory: " + opened.error().message);
}

void Journal::Writer::give_up_file(const Error& error) {
  file_writable_ = false;
  if (file_->damaged()) {
    move_damaged_file_aside();
    const Status opened = file_->open(options_.file);
    file_writable_ = opened.ok();
    if (opened) return;
  }
  warn("the journal is kept in memory from now on, and the file tried again every " +
       describe_duration(options_.retry) + ": " + error.message);
}

void Journal::Writer::move_damaged_file_aside() {
  file_ = std::make_unique<JournalDatabase>();
  for (const char* part : {"", "-wal", "-shm"}) {
    const std::string name = options_.file + part;
    // The latest damaged one is kept for whoever wants to look; a failure here shows at open().
    (void)std::rename(name.c_str(), (options_.file + ".damaged" + part).c_str());
  }
  warn("the journal " + options_.file + " was damaged; it is now " + options_.file +
       ".damaged, and a new one is begun");
}

void Journal::Writer::try_file_again() {
  auto fresh = std::make_unique<JournalDatabase>();
  Status done = fresh->open(options_.file);
  if (done && memory_) done = fresh->append_all_of(*memory_);
  if (!done) return;  // Said already, when it began.
  file_ = std::move(fresh);
  file_writable_ = true;
  memory_.reset();
  warn("the journal is written to " + options_.file + " again" +
       (not_kept_ > 0 ? "; " + std::to_string(not_kept_) + " events are missing" : ""));
  not_kept_ = 0;
}

std::uint64_t Journal::Writer::last_sequence() {
  JournalDatabase& database = file_writable_ ? *file_ : *memory_;
  const Result<std::uint64_t> last = database.last_sequence();
  return last ? *last : 0;
}

// What file and memory hold together, the older first: `query` is asked of both.
template <class Query>
Result<Journal::Rows> Journal::Writer::rows_of(Query query) {
  Rows rows;
  std::optional<Error> failed;
  for (JournalDatabase* database : {file_.get(), memory_.get()}) {
    if (!database) continue;
    Result<Rows> part = query(*database);
    if (!part) {
      failed = part.error();
      continue;
    }
    rows.insert(rows.end(), std::make_move_iterator(part->begin()),
                std::make_move_iterator(part->end()));
  }
  if (rows.empty() && failed) return *failed;
  return rows;
}

Result<Journal::Rows> Journal::Writer::events(const EventFilter& filter) {
  Result<Rows> rows = rows_of([&](JournalDatabase& database) { return database.events(filter); });
  if (!rows || rows->size() <= filter.limit) return rows;
  const auto surplus = static_cast<std::ptrdiff_t>(rows->size() - filter.limit);
  const bool forward = filter.since > 0;
  rows->erase(forward ? rows->end() - surplus : rows->begin(),
              forward ? rows->end() : rows->begin() + surplus);
  return rows;
}

Result<nlohmann::json> Journal::Writer::deaths(const std::string& path, std::size_t limit) {
  Result<Rows> records =
      rows_of([&](JournalDatabase& database) { return database.deaths(path, limit); });
  if (!records) return records.error();
  std::sort(records->begin(), records->end(), [](const auto& a, const auto& b) {
    return a.value("sequence", std::uint64_t{0}) > b.value("sequence", std::uint64_t{0});
  });
  if (records->size() > limit) records->resize(limit);
  Result<Rows> causes = rows_of([&](JournalDatabase& database) { return database.causes(path); });
  if (!causes) return causes.error();
  return nlohmann::json{{"deaths", std::move(*records)}, {"causes", std::move(*causes)}};
}

Journal::Journal(EventLoop& loop, EventBus& bus, JournalOptions options)
    : loop_(loop), bus_(bus), writer_(std::make_shared<Writer>(loop, bus, std::move(options))) {
  writer_->start_thread();
}

Journal::~Journal() {
  subscription_.reset();
  writer_->close();
}

void Journal::start() {
  bus_.continue_after(writer_->wait_until_open());
  subscription_ = bus_.subscribe(
      EventKinds::all(), [this](const Event& event) { writer_->add(event); }, "journal");
}

void Journal::record(DeathRecord record) { writer_->add(std::move(record)); }

void Journal::events(EventFilter filter, std::function<void(Result<Rows>)> answer) {
  writer_->ask([writer = writer_.get(), filter = std::move(filter), answer = std::move(answer)] {
    auto rows = std::make_shared<Result<Rows>>(writer->events(filter));
    writer->on_loop([answer, rows] { answer(std::move(*rows)); });
  });
}

void Journal::deaths(std::string path, std::size_t limit,
                     std::function<void(Result<nlohmann::json>)> answer) {
  writer_->ask([writer = writer_.get(), path = std::move(path), limit, answer = std::move(answer)] {
    auto found = std::make_shared<Result<nlohmann::json>>(writer->deaths(path, limit));
    writer->on_loop([answer, found] { answer(std::move(*found)); });
  });
}

void Journal::flush(std::function<void()> done) {
  writer_->ask([writer = writer_.get(), done = std::move(done)] { writer->on_loop(done); });
}

}  // namespace unirun
