// ServiceOutput is the record of one service's lines: a ring of the latest, and a file if its spec
// names one. It belongs to the service, not to a run: see OutputStore.
//
// Thread: the loop's. Memory only from the first line on.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "executors/output/output_line.h"

namespace unirun {

class LogFile;
class OutputStore;

class ServiceOutput {
 public:
  ServiceOutput(OutputStore& store, std::string path);

  void append(RunId run, OutputStream stream, std::string_view text, bool continued);

  [[nodiscard]] std::vector<OutputLine> tail(std::size_t count) const;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool has_printed() const { return last_number_ > 0; }

 private:
  friend class OutputStore;

  void keep(OutputLine line);

  OutputStore* store_;  // Null once the store is gone.
  std::string path_;
  std::size_t ring_bytes_ = 0;
  std::unique_ptr<std::deque<OutputLine>> ring_;  // An empty deque alone takes half a kilobyte.
  std::size_t kept_bytes_ = 0;
  std::uint64_t last_number_ = 0;
  std::shared_ptr<LogFile> file_;
};

}  // namespace unirun
