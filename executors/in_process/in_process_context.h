// InProcessContext is the ServiceContext of a service that runs inside this process, on whatever
// thread. What the service says reaches its run on the loop, in the order in which it was said.
//
// Thread: any for what a service calls; the loop's for sever(). Owned by the run and by the thread
// that runs the service, which may be abandoned and outlive the host: what it says then is lost.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "executors/executor.h"
#include "executors/in_process/in_process_world.h"
#include "framework/clock.h"
#include "framework/service.h"

namespace unirun {

class InProcessContext final : public ServiceContext,
                               public std::enable_shared_from_this<InProcessContext> {
 public:
  // The run's ear. Thread: the loop's, never from within a call of the service.
  class Listener {
   public:
    virtual void on_ready_said() = 0;
    virtual void on_status(std::string text) = 0;
    virtual void on_log(ServiceLog record) = 0;

   protected:
    ~Listener() = default;
  };

  // `listener` lives until sever().
  InProcessContext(std::shared_ptr<InProcessWorld> world, Launch launch, Listener& listener);

  // The run is over for everybody but the service itself: nothing that it says from now on counts.
  void sever();

  void request_cancellation() { cancellation_.request_cancellation(); }
  [[nodiscard]] const Launch& launch() const { return launch_; }
  // The latest heartbeat(); the beginning of time if there was none.
  [[nodiscard]] Instant last_heartbeat() const {
    return Instant(Duration(last_heartbeat_.load(std::memory_order_relaxed)));
  }

  // ---- ServiceContext ----
  [[nodiscard]] const std::string& id() const override { return launch_.id; }
  [[nodiscard]] const std::string& path() const override { return launch_.path; }
  [[nodiscard]] std::optional<unsigned> instance() const override { return launch_.instance; }
  [[nodiscard]] const nlohmann::json& config() const override { return launch_.service->config; }
  [[nodiscard]] CancellationToken cancellation() const override { return cancellation_.token(); }
  void ready() override;
  void heartbeat() override;
  void status(std::string_view text) override;
  void log(ServiceLog record) override;
  void count(std::string_view counter, double by) override;
  void gauge(std::string_view gauge, double value) override;
  // Throws Cancelled once the run is over, or the host is gone.
  [[nodiscard]] std::shared_ptr<EventQueue> open_events(EventKinds kinds,
                                                        std::size_t capacity) override;
  [[nodiscard]] std::shared_ptr<ServiceContext> keep() override { return shared_from_this(); }
  [[nodiscard]] EventLoop& loop() override { return world_->loop; }

 private:
  // Records that the loop has not taken yet; more are dropped, and counted.
  static constexpr std::uint32_t most_records = 4096;

  template <class Hear>
  void tell(Hear hear);
  [[nodiscard]] bool may_record();
  void record_taken();

  const std::shared_ptr<InProcessWorld> world_;
  const Launch launch_;
  CancellationSource cancellation_;
  std::atomic<Duration::rep> last_heartbeat_{0};
  std::atomic<std::uint32_t> records_waiting_{0};
  std::atomic<std::uint32_t> records_dropped_{0};
  std::atomic<bool> said_ready_{false};
  std::atomic<bool> severed_{false};
  Listener* listener_;  // The loop's. Null once severed.
};

}  // namespace unirun
