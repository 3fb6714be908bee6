// OutputStore keeps what services print: the latest lines of each in a ring, and all of them in
// rotated files where one is named. Keyed by the service's path, so that a restart, or ten, does
// not cut the record: the lines of a dead run stand above those of its successor.
//
// Thread: the loop's. Files are written by one thread of the store's own: a slow or full disk costs
// lines in the file (a Warning says so, once), never a wait.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "executors/output/output_line.h"
#include "executors/service_spec.h"
#include "framework/event_bus.h"
#include "framework/event_loop.h"
#include "framework/registration.h"
#include "framework/run_id.h"

namespace unirun {

class LogFiles;
class ServiceOutput;

class OutputStore {
 public:
  using Observer = std::function<void(const std::string& path, const OutputLine& line)>;

  // Both outlive the store.
  OutputStore(EventLoop& loop, EventBus& bus);
  // Waits until the lines that are on their way to files are written.
  ~OutputStore();
  OutputStore(const OutputStore&) = delete;
  OutputStore& operator=(const OutputStore&) = delete;

  // The latest `count` lines of the service at `path`, oldest first. Empty for an unknown path.
  [[nodiscard]] std::vector<OutputLine> tail(const std::string& path, std::size_t count) const;

  // Calls `observer` for every line of `path` (of every service, if empty) from now on. It may
  // end its own and others' registrations, and may not call the store otherwise.
  [[nodiscard]] Registration follow(std::string path, Observer observer);

  // Paths that have printed something, in no order.
  [[nodiscard]] std::vector<std::string> paths() const;

  // Closes and opens every file again: for SIGUSR1, after logrotate has moved them.
  void reopen_files();

  // Drops the record of a service whose spec is gone. Its file stays.
  void forget(const std::string& path);

  // Calls `on_written` on the loop once all lines of before are in their files.
  void flush(std::function<void()> on_written);

  // For executors: where the lines of `path` go, by `spec`. `file` is the spec's, filled in.
  [[nodiscard]] std::shared_ptr<ServiceOutput> open(const std::string& path, const OutputSpec& spec,
                                                    const std::string& file);

 private:
  friend class ServiceOutput;
  struct Follower;

  void publish(const ServiceOutput& output, const OutputLine& line);

  EventLoop& loop_;
  EventBus& bus_;
  std::unique_ptr<LogFiles> files_;
  std::unordered_map<std::string, std::shared_ptr<ServiceOutput>> outputs_;
  std::shared_ptr<std::vector<std::shared_ptr<Follower>>> followers_;
};

}  // namespace unirun
