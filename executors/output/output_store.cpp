#include "executors/output/output_store.h"

#include <algorithm>
#include <utility>

#include "executors/output/log_files.h"
#include "executors/output/service_output.h"

namespace unirun {

struct OutputStore::Follower {
  std::string path;  // Empty: every service.
  Observer observer;
};

OutputStore::OutputStore(EventLoop& loop, EventBus& bus)
    : loop_(loop),
      bus_(bus),
      files_(std::make_unique<LogFiles>([this](std::string what) {
        loop_.post([this, what = std::move(what), alive = std::weak_ptr(followers_)] {
          if (!alive.expired()) bus_.publish({}, Warning{what});
        });
      })),
      followers_(std::make_shared<std::vector<std::shared_ptr<Follower>>>()) {}

OutputStore::~OutputStore() {
  for (const auto& [path, output] : outputs_) output->store_ = nullptr;
  files_.reset();  // Its thread posts through followers_.
}

std::vector<OutputLine> OutputStore::tail(const std::string& path, std::size_t count) const {
  const auto found = outputs_.find(path);
  return found == outputs_.end() ? std::vector<OutputLine>{} : found->second->tail(count);
}

Registration OutputStore::follow(std::string path, Observer observer) {
  auto follower = std::make_shared<Follower>(Follower{std::move(path), std::move(observer)});
  followers_->push_back(follower);
  return Registration([follower, followers = std::weak_ptr(followers_)] {
    follower->observer = nullptr;
    if (const auto alive = followers.lock()) std::erase(*alive, follower);
  });
}

std::vector<std::string> OutputStore::paths() const {
  std::vector<std::string> paths;
  for (const auto& [path, output] : outputs_) {
    if (output->has_printed()) paths.push_back(path);
  }
  return paths;
}

void OutputStore::reopen_files() {
  for (const auto& [path, output] : outputs_) {
    if (output->file_) files_->reopen(output->file_);
  }
}

void OutputStore::forget(const std::string& path) {
  const auto found = outputs_.find(path);
  if (found == outputs_.end()) return;
  found->second->ring_.reset();
  found->second->kept_bytes_ = 0;
  if (found->second.use_count() > 1) return;  // A run still prints, or its pipe is not drained.
  outputs_.erase(found);
}

void OutputStore::flush(std::function<void()> on_written) {
  files_->flush([this, on_written = std::move(on_written)] { loop_.post(on_written); });
}

std::shared_ptr<ServiceOutput> OutputStore::open(const std::string& path, const OutputSpec& spec,
                                                 const std::string& file) {
  std::shared_ptr<ServiceOutput>& output = outputs_[path];
  if (!output) output = std::make_shared<ServiceOutput>(*this, path);
  output->ring_bytes_ = spec.ring_bytes;
  if (file.empty()) {
    output->file_.reset();
  } else if (!output->file_ || !output->file_->is(file, spec.max_file_bytes, spec.max_files)) {
    output->file_ = files_->open(file, spec.max_file_bytes, spec.max_files);
  }
  return output;
}

void OutputStore::publish(const ServiceOutput& output, const OutputLine& line) {
  if (followers_->empty()) return;
  // A follower may end registrations, its own too.
  const auto present = *followers_;
  for (const auto& follower : present) {
    if (!follower->observer) continue;
    if (!follower->path.empty() && follower->path != output.path()) continue;
    const Observer observer = follower->observer;
    observer(output.path(), line);
  }
}

}  // namespace unirun
