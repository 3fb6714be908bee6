// ProcessChannels is everything that lies between one process and the host: the pipes of its
// output, the control channel and the memory for stacks of a Python worker, the socket for
// notifications, the descriptor by which it says that it is ready.
//
// Thread: the loop's. Owned by the run.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "executors/executor.h"
#include "executors/process/control_channel.h"
#include "executors/process/notify_socket.h"
#include "executors/process/output_pipe.h"
#include "executors/process/run_world.h"
#include "executors/process/spawner.h"

namespace unirun {

class ProcessChannels {
 public:
  // None of them may destroy the channels, but on_output_ended().
  struct Owner : OutputPipe::Owner {
    virtual void on_message(const nlohmann::json& message) = 0;
    virtual void on_notification(const Notification& notification) = 0;
    // By a line, or by its descriptor.
    virtual void on_said_ready() = 0;
  };

  // All outlive the channels.
  ProcessChannels(RunWorld& world, const Launch& launch, Owner& owner);
  ~ProcessChannels();
  ProcessChannels(const ProcessChannels&) = delete;
  ProcessChannels& operator=(const ProcessChannels&) = delete;

  // Opens what the spec asks for, and adds the child's ends to `request`. A second call, for a
  // second attempt, opens everything anew.
  // Errors: Errc::start_failed, naming what could not be opened.
  [[nodiscard]] Status open(SpawnRequest& request);

  // The process has its own copies of the child's ends: ours are closed, and we listen from now on.
  void begin(pid_t pid, uid_t user, std::uint64_t launch_number);

  // For a standby that begins as `run`.
  void belongs_to(RunId run);

  // To a Python worker; nothing happens if there is no channel.
  void send(const nlohmann::json& message);

  // Calls on_said_ready() once. False: the spec does not ask for a line or a descriptor.
  [[nodiscard]] bool watch_readiness();
  void stop_watching_readiness();

  // Takes the messages and notifications that have arrived.
  void read_messages();
  // All that a dead process has left behind.
  void read_last_words();

  // What faulthandler wrote, at most 256 KiB of it.
  [[nodiscard]] std::string read_stacks() const;

  // Null: it is not captured.
  [[nodiscard]] const std::shared_ptr<ServiceOutput>& output() const { return output_; }

  // What the descendants of the process may still print to.
  [[nodiscard]] std::vector<std::unique_ptr<OutputPipe>> take_open_pipes();

 private:
  [[nodiscard]] const ServiceSpec& spec() const { return *launch_.service; }

  // Each opens what the spec asks for, and keeps the child's end until begin().
  [[nodiscard]] Status open_readiness(SpawnRequest& request);
  [[nodiscard]] Status open_output(SpawnRequest& request);
  [[nodiscard]] Status open_control(SpawnRequest& request);
  [[nodiscard]] Status open_notify(SpawnRequest& request);
  [[nodiscard]] int keep(int childs_end);
  void on_readiness_descriptor();

  RunWorld& world_;
  const Launch& launch_;
  Owner& owner_;
  std::vector<UniqueFd> childs_ends_;  // Until there is a process.

  std::shared_ptr<ServiceOutput> output_;
  std::unique_ptr<OutputPipe> stdout_, stderr_;
  std::unique_ptr<ControlChannel> control_;
  UniqueFd stacks_;  // Where faulthandler writes.
  std::unique_ptr<NotifySocket> notify_;
  UniqueFd readiness_;
  Watch readiness_watch_;  // After the descriptor: it ends first.
};

}  // namespace unirun
