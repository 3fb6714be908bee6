// OutputPipe reads one stream of one run and hands its lines to the service's record. It may
// outlive its run: a descendant that holds the pipe open can still print until it is swept away.
//
// Thread: the loop's. Owned by the run, afterwards by the executor.

#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "executors/output/line_splitter.h"
#include "executors/output/service_output.h"
#include "executors/process/unique_fd.h"
#include "framework/event_loop.h"

namespace unirun {

class OutputPipe {
 public:
  using OnLine = std::function<void(std::string_view line)>;

  // Is told when everybody has closed the pipe, and then closes or destroys it.
  struct Owner {
    virtual ~Owner() = default;
    virtual void on_output_ended(OutputPipe& pipe) = 0;
  };

  OutputPipe(UniqueFd pipe, RunId run, OutputStream stream, std::shared_ptr<ServiceOutput> output);
  // A line without an end is a line all the same.
  ~OutputPipe();
  OutputPipe(const OutputPipe&) = delete;
  OutputPipe& operator=(const OutputPipe&) = delete;

  // Reads from now on. Apart from the constructor, for what can wait until the process is there.
  void begin(EventLoop& loop, Owner& owner);

  // Reads all that is there now, within a bound: somebody may write without end. Tells nobody.
  void drain();

  // Its lines are that run's from now on: for a standby, which belongs to none before.
  void belongs_to(RunId run) { run_ = run; }

  // Everybody has closed it.
  [[nodiscard]] bool ended() const { return ended_; }

  void close();

  // Its owner is gone: from now on it closes itself.
  void outlive_owner() { owner_ = nullptr; }

  // For readiness by a line; null ends that.
  void on_line(OnLine function);

 private:
  enum class More { yes, no };
  More read_once();
  void on_readable();
  void take(std::string_view line, bool continued);

  UniqueFd pipe_;
  RunId run_;
  const OutputStream stream_;
  bool ended_ = false;
  Owner* owner_ = nullptr;
  LineSplitter splitter_;
  std::shared_ptr<ServiceOutput> output_;
  std::unique_ptr<OnLine> on_line_;  // Hardly anyone has one.
  Watch watch_;                      // After the pipe: it ends first.
};

}  // namespace unirun
