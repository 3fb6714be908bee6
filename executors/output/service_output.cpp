#include "executors/output/service_output.h"

#include <algorithm>
#include <utility>

#include "executors/output/log_files.h"
#include "executors/output/output_store.h"

namespace unirun {

ServiceOutput::ServiceOutput(OutputStore& store, std::string path)
    : store_(&store), path_(std::move(path)) {}

void ServiceOutput::append(RunId run, OutputStream stream, std::string_view text, bool continued) {
  if (store_ == nullptr) return;
  if (file_) store_->files_->write(file_, text, !continued);
  OutputLine line{++last_number_,   store_->loop_.clock().wall_now(), run, stream, continued,
                  std::string(text)};
  store_->publish(*this, line);
  keep(std::move(line));
}

// The bound is on memory, so each line is counted with what surrounds it.
void ServiceOutput::keep(OutputLine line) {
  if (ring_bytes_ == 0) return;
  if (!ring_) ring_ = std::make_unique<std::deque<OutputLine>>();
  kept_bytes_ += sizeof line + line.text.size();
  ring_->push_back(std::move(line));
  while (kept_bytes_ > ring_bytes_ && ring_->size() > 1) {
    kept_bytes_ -= sizeof(OutputLine) + ring_->front().text.size();
    ring_->pop_front();
  }
}

std::vector<OutputLine> ServiceOutput::tail(std::size_t count) const {
  if (!ring_) return {};
  const std::size_t shown = std::min(count, ring_->size());
  return {ring_->end() - static_cast<std::ptrdiff_t>(shown), ring_->end()};
}

}  // namespace unirun
