#include "executors/output/log_files.h"

#include <fmt/format.h>
#include <spdlog/details/file_helper.h>
#include <spdlog/formatter.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <sys/stat.h>

#include <unordered_set>
#include <utility>

namespace unirun {
namespace {

// The service's own bytes, and nothing around them.
class AsWritten final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& into) override {
    into.append(message.payload.begin(), message.payload.end());
  }
  [[nodiscard]] std::unique_ptr<formatter> clone() const override {
    return std::make_unique<AsWritten>();
  }
};

// Which file a name stands for; 0 if for none.
ino_t inode_of(const std::string& name) {
  struct stat status {};
  return ::stat(name.c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

struct LogFile::Sink {
  Sink(const std::string& name, std::uint64_t max_bytes, unsigned max_files)
      : file(name, max_bytes, max_files) {
    file.set_formatter(std::make_unique<AsWritten>());
    inode = inode_of(name);
  }
  spdlog::sinks::rotating_file_sink_st file;
  ino_t inode = 0;
};

LogFile::LogFile(std::string file, std::uint64_t max_bytes, unsigned max_files)
    : name_(std::move(file)), max_bytes_(max_bytes), max_files_(max_files) {}
LogFile::~LogFile() = default;

LogFiles::LogFiles(OnTrouble on_trouble) : on_trouble_(std::move(on_trouble)) {}

LogFiles::~LogFiles() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LogFiles::push(Entry entry) {
  {
    const std::lock_guard lock(mutex_);
    if (entry.file && pending_bytes_ + entry.text.size() > max_pending_bytes) {
      ++dropped_;
      return;
    }
    pending_bytes_ += entry.text.size();
    pending_.push_back(std::move(entry));
  }
  changed_.notify_one();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

std::shared_ptr<LogFile> LogFiles::open(const std::string& name, std::uint64_t max_bytes,
                                        unsigned max_files) {
  std::erase_if(files_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<LogFile>& known = files_[name];
  std::shared_ptr<LogFile> file = known.lock();
  if (!file || !file->is(name, max_bytes, max_files)) {
    file = std::make_shared<LogFile>(name, max_bytes, max_files);
    known = file;
  }
  return file;
}

void LogFiles::write(const std::shared_ptr<LogFile>& file, std::string_view text,
                     bool end_of_line) {
  std::string bytes;
  bytes.reserve(text.size() + 1);
  bytes.append(text);
  if (end_of_line) bytes.push_back('\n');
  push({file, std::move(bytes), nullptr});
}

void LogFiles::reopen(const std::shared_ptr<LogFile>& file) { push({file, {}, nullptr}); }

void LogFiles::flush(std::function<void()> on_written) {
  push({nullptr, {}, std::move(on_written)});
}

void LogFiles::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ends_ || !pending_.empty(); });
    if (pending_.empty()) return;
    Batch batch = std::exchange(pending_, {});
    pending_bytes_ = 0;
    const std::uint64_t dropped = std::exchange(dropped_, 0);
    lock.unlock();
    write_batch(batch);
    if (dropped > 0) {
      on_trouble_(
          fmt::format("log files: {} lines were dropped, because the disk is too slow", dropped));
    }
    batch = {};
    lock.lock();
  }
}

void LogFiles::write_batch(Batch& batch) {
  std::unordered_set<LogFile*> written;
  for (Entry& entry : batch) {
    if (entry.on_written) {
      for (LogFile* file : written) flush_file(*file);
      entry.on_written();
      continue;
    }
    LogFile& file = *entry.file;
    // Asked once a batch and file: was it moved away, or removed? (Our own rotation looks the same,
    // and is answered in the same way, which does no harm.)
    const bool first = written.insert(&file).second;
    if (first && file.sink_ && inode_of(file.name_) != file.sink_->inode) file.sink_.reset();
    if (entry.text.empty()) {
      file.sink_.reset();
    } else {
      write_text(file, entry.text);
    }
  }
  for (LogFile* file : written) flush_file(*file);
}

void LogFiles::write_text(LogFile& file, const std::string& text) {
  try {
    if (!file.sink_) {
      file.sink_ = std::make_unique<LogFile::Sink>(file.name_, file.max_bytes_, file.max_files_);
    }
    file.sink_->file.log({"", spdlog::level::info, text});
  } catch (const std::exception& error) {
    file.sink_.reset();
    report(file, error.what());
  }
}

void LogFiles::flush_file(LogFile& file) {
  if (!file.sink_) return;
  try {
    file.sink_->file.flush();
    file.in_trouble_ = false;
  } catch (const std::exception& error) {
    file.sink_.reset();
    report(file, error.what());
  }
}

void LogFiles::report(LogFile& file, const std::string& error) {
  if (std::exchange(file.in_trouble_, true)) return;
  on_trouble_(fmt::format("log file {}: {}; its lines are lost until it can be written again",
                          file.name_, error));
}

}  // namespace unirun
