// LogFiles writes lines to rotated files on a thread of its own, one for all files. The loop hands
// lines over and never waits for the disk: what a stuck disk leaves unwritten beyond
// `max_pending_bytes` is dropped and counted. A file that somebody removed or moved is made anew;
// one that cannot be written is reported once, tried again with every batch, and reported again
// only after it has worked in between.
//
// Thread: open(), write(), reopen(), flush() are the loop's. `on_trouble` is called on the writer's
// thread.

#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace unirun {

// A rotated file; all of its inside belongs to the writer's thread.
class LogFile {
 public:
  LogFile(std::string file, std::uint64_t max_bytes, unsigned max_files);
  ~LogFile();

  [[nodiscard]] bool is(const std::string& name, std::uint64_t max_bytes,
                        unsigned max_files) const {
    return name == name_ && max_bytes == max_bytes_ && max_files == max_files_;
  }

 private:
  friend class LogFiles;
  struct Sink;

  const std::string name_;
  const std::uint64_t max_bytes_;
  const unsigned max_files_;
  std::unique_ptr<Sink> sink_;  // Null: closed, opened by the next line.
  bool in_trouble_ = false;
};

class LogFiles {
 public:
  static constexpr std::size_t max_pending_bytes = std::size_t{8} << 20;

  // Gets "log file /var/log/x: No space left on device; its lines are lost until ...".
  using OnTrouble = std::function<void(std::string what)>;

  explicit LogFiles(OnTrouble on_trouble);
  // Writes what is pending, then ends the thread.
  ~LogFiles();
  LogFiles(const LogFiles&) = delete;
  LogFiles& operator=(const LogFiles&) = delete;

  // The file of that name; services that name the same one share it.
  [[nodiscard]] std::shared_ptr<LogFile> open(const std::string& name, std::uint64_t max_bytes,
                                              unsigned max_files);
  void write(const std::shared_ptr<LogFile>& file, std::string_view text, bool end_of_line);
  // Closes the file; its next line opens it again.
  void reopen(const std::shared_ptr<LogFile>& file);
  // Calls `on_written` on the writer's thread once everything of before is written.
  void flush(std::function<void()> on_written);

 private:
  struct Entry {
    std::shared_ptr<LogFile> file;
    std::string text;                  // Empty: close the file.
    std::function<void()> on_written;  // A flush, if set; then there is no file.
  };
  using Batch = std::vector<Entry>;

  void push(Entry entry);
  void run();
  void write_batch(Batch& batch);
  void write_text(LogFile& file, const std::string& text);
  void flush_file(LogFile& file);
  void report(LogFile& file, const std::string& error);

  const OnTrouble on_trouble_;
  std::unordered_map<std::string, std::weak_ptr<LogFile>> files_;  // The loop's, by name.
  std::mutex mutex_;  // Guards what follows; held for a push or a swap only.
  std::condition_variable changed_;
  Batch pending_;
  std::size_t pending_bytes_ = 0;
  std::uint64_t dropped_ = 0;
  bool ends_ = false;
  std::thread thread_;  // Started with the first line.
};

}  // namespace unirun
