// TemplatePool holds the templates of an executor: one for each set of services that may share one.
// A template that no run has come from for a while is ended.
//
// Thread: the loop's.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "executors/process/worker_template.h"

namespace unirun {

class TemplatePool {
 public:
  // `on_gone` as in WorkerTemplate.
  TemplatePool(RunWorld& world, std::function<void(std::uint64_t)> on_gone);
  ~TemplatePool();
  TemplatePool(const TemplatePool&) = delete;
  TemplatePool& operator=(const TemplatePool&) = delete;

  // The template for this plan, which is in use as long as somebody holds it.
  [[nodiscard]] std::shared_ptr<WorkerTemplate> find(TemplatePlan plan, const std::string& path,
                                                     const std::shared_ptr<ServiceOutput>& output);

  // Somebody has let go of one, or is about to.
  void look_soon();

  // The numbers in the marks of those that live.
  void add_numbers(std::vector<std::uint64_t>& numbers) const;

  // Ends all of them.
  void clear();

 private:
  void sweep();

  RunWorld& world_;
  const std::function<void(std::uint64_t)> on_gone_;
  std::map<std::string, std::shared_ptr<WorkerTemplate>> templates_;
  TimerId timer_ = TimerId::none;
};

}  // namespace unirun
