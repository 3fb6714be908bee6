// InProcessRun is what threads and coroutines share of one life of one service: its context, its
// readiness and liveness, and what its end means. The executor that owns it decides where the
// service runs, and how it is ended.
//
// Thread: the loop's.

#pragma once

#include <memory>
#include <string>

#include "executors/executor.h"
#include "executors/heartbeat_watch.h"
#include "executors/in_process/in_process_context.h"
#include "executors/in_process/in_process_world.h"
#include "executors/in_process/service_end.h"
#include "executors/process/probe.h"

namespace unirun {

class InProcessRun final : InProcessContext::Listener {
 public:
  // The run's word to its executor.
  class Owner {
   public:
    // It went silent, and its end is to be brought about. It has been cancelled already.
    virtual void on_unresponsive(RunId run) = 0;

   protected:
    ~Owner() = default;
  };

  // `owner` and `observer` outlive the run.
  InProcessRun(std::shared_ptr<InProcessWorld> world, Owner& owner, RunObserver& observer,
               const Launch& launch);
  ~InProcessRun();
  InProcessRun(const InProcessRun&) = delete;
  InProcessRun& operator=(const InProcessRun&) = delete;

  // Makes the service that its spec names. Errors, all start_failed: a target, readiness or
  // liveness that nothing inside the host can have; what the factory says.
  [[nodiscard]] Result<std::unique_ptr<Service>> make_service(ServiceStyle style);

  // The service is about to run: what launch() is to answer. One that prepares itself first is
  // starting until on_prepared().
  [[nodiscard]] LaunchOutcome begin(bool prepared);
  void on_prepared();

  // Both cancel. What ends after kill() was killed, however it ends.
  void request_stop();
  void kill();

  // It has shown that it does not live as it should: tells, cancels, and calls the owner. Nothing
  // once its end is decided.
  void become_unresponsive(const std::string& probe, std::string detail, Duration silence);

  // The last call, when the executor has let go of the run: tells the observer, who may launch the
  // next one from within.
  void end(ServiceEnd end);
  // The same for a thread that cannot be ended.
  void abandon(std::string detail, std::string stacks);

  [[nodiscard]] RunId id() const { return context_->launch().run; }
  [[nodiscard]] const std::string& path() const { return context_->launch().path; }
  [[nodiscard]] const ServiceSpec& spec() const { return *context_->launch().service; }
  [[nodiscard]] const std::shared_ptr<InProcessContext>& context() const { return context_; }
  [[nodiscard]] bool stop_requested() const { return stop_requested_; }
  [[nodiscard]] bool unresponsive() const { return unresponsive_ != nullptr; }

 private:
  void on_ready_said() override;
  void on_status(std::string text) override;
  void on_log(ServiceLog record) override;

  [[nodiscard]] Status check_signs(ServiceStyle style) const;
  void begin_readiness();
  void begin_liveness();
  void become_ready();
  void stop_watching();
  [[nodiscard]] ExitReason judge(ExitReason reason) const;

  const std::shared_ptr<InProcessWorld> world_;
  Owner& owner_;
  RunObserver& observer_;
  const std::shared_ptr<InProcessContext> context_;

  bool ready_ = false;
  bool watching_ = true;  // For readiness and liveness; not any more once its end is decided.
  bool stop_requested_ = false;
  bool kill_requested_ = false;
  std::unique_ptr<const std::string> unresponsive_;  // Which sign of life was missed.
  std::unique_ptr<HeartbeatWatch> heartbeat_;
  std::unique_ptr<ProbeLoop> probing_;     // For readiness, then for liveness.
  std::shared_ptr<ServiceOutput> output_;  // From its first record on.
};

}  // namespace unirun
