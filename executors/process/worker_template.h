// WorkerTemplate is a warm Python process that has imported what its workers need, and forks them
// on request (python_bindings/unirun/_template.py): 2 ms instead of 60. The workers are children of
// the host all the same. It is itself looked after: one that dies is started again, with growing
// pauses; one whose files have changed is replaced; one that cannot serve (a preload that fails, a
// thread that an import has started) says why in a Warning, and workers start fresh.
//
//   host -> template: {"type": "preload", ...} first; {"type": "fork", ...} with descriptors
//   template -> host: "ready", "unable", "changed"; "forked" with a pidfd, "refused"
//
// Thread: the loop's. No call comes back from within fork().

#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "executors/process/output_pipe.h"
#include "executors/process/run_world.h"
#include "executors/process/template_plan.h"

namespace unirun {

class WorkerTemplate final : private OutputPipe::Owner {
 public:
  enum class Birth : std::uint8_t {
    forked,
    declined,  // Nothing was forked: start it fresh, with the same descriptors.
    unclear,   // The template died over it: start it fresh, with other descriptors and marks.
  };
  struct Order {
    nlohmann::json message;
    std::vector<int> descriptors;  // Open until `on_born`.
    std::function<void(Birth, SpawnedProcess)> on_born;
  };
  using OrderId = std::uint64_t;

  // `path` is that of the first service, where the output of imports and warnings go.
  // `on_gone` hears that all with the mark of that number is to go.
  WorkerTemplate(RunWorld& world, TemplatePlan plan, std::string path,
                 std::shared_ptr<ServiceOutput> output,
                 std::function<void(std::uint64_t number)> on_gone);
  // Kills it; waits for its end, which takes some milliseconds.
  ~WorkerTemplate() override;
  WorkerTemplate(const WorkerTemplate&) = delete;
  WorkerTemplate& operator=(const WorkerTemplate&) = delete;

  // Has a worker forked, as soon as the imports are done. 0: not now; start it fresh.
  [[nodiscard]] OrderId fork(Order order);

  // Nobody wants it any more: whatever comes of it is killed.
  void cancel(OrderId order);

  // Kills it without waiting.
  void kill();

  // In its mark, as long as it lives; else 0.
  [[nodiscard]] std::uint64_t number() const { return process_.pidfd ? number_ : 0; }

 private:
  enum class State : std::uint8_t { absent, importing, ready, useless };
  struct Pending {
    OrderId id = 0;
    Order order;
    bool sent = false;
    bool cancelled = false;
  };

  bool start();
  bool send(const nlohmann::json& message, const std::vector<int>& descriptors);
  void send_orders();
  void watch_patience();
  void lose_patience();
  void receive();
  void on_message(const nlohmann::json& message, UniqueFd descriptor);
  void on_answer(const nlohmann::json& message, UniqueFd pidfd);
  void answer(Pending pending, Birth birth, SpawnedProcess process);
  void answer_all(Birth unsent, Birth sent);
  void on_output_ended(OutputPipe& pipe) override { pipe.close(); }
  void on_died();
  void pause();
  void restart_later();
  void end_process();

  RunWorld& world_;
  const TemplatePlan plan_;
  const std::string path_;
  const std::shared_ptr<ServiceOutput> output_;
  const std::function<void(std::uint64_t)> on_gone_;

  State state_ = State::absent;
  SpawnedProcess process_;
  std::uint64_t number_ = 0;
  UniqueFd channel_;
  std::unique_ptr<OutputPipe> stdout_, stderr_;
  std::deque<Pending> pending_;  // In the order of their coming; those that were sent first.
  OrderId last_order_ = 0;
  unsigned failures_ = 0;  // In a row.
  Instant started_at_{};
  Instant earliest_start_{};
  TimerId patience_ = TimerId::none;
  TimerId restart_ = TimerId::none;
  Watch reading_;  // After the channel: it ends first.
  Watch death_;
};

}  // namespace unirun
