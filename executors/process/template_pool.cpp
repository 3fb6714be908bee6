#include "executors/process/template_pool.h"

#include <utility>

namespace unirun {
namespace {

// A service between two of its lives, or one that is stopped for a moment, finds it warm.
constexpr Duration idle_time = std::chrono::minutes{1};

}  // namespace

TemplatePool::TemplatePool(RunWorld& world, std::function<void(std::uint64_t)> on_gone)
    : world_(world), on_gone_(std::move(on_gone)) {}

TemplatePool::~TemplatePool() {
  world_.loop.cancel_timer(timer_);
  clear();
}

std::shared_ptr<WorkerTemplate> TemplatePool::find(TemplatePlan plan, const std::string& path,
                                                   const std::shared_ptr<ServiceOutput>& output) {
  std::shared_ptr<WorkerTemplate>& place = templates_[plan.key()];
  if (!place) {
    place = std::make_shared<WorkerTemplate>(world_, std::move(plan), path, output, on_gone_);
  }
  return place;
}

void TemplatePool::look_soon() {
  if (timer_ != TimerId::none || templates_.empty()) return;
  timer_ = world_.loop.start_timer(world_.loop.clock().now() + idle_time, [this] {
    timer_ = TimerId::none;
    sweep();
  });
}

void TemplatePool::sweep() {
  std::erase_if(templates_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

void TemplatePool::add_numbers(std::vector<std::uint64_t>& numbers) const {
  for (const auto& [key, one] : templates_) {
    if (one->number() != 0) numbers.push_back(one->number());
  }
}

void TemplatePool::clear() {
  for (const auto& [key, one] : templates_) one->kill();  // All, before any is waited for.
  templates_.clear();
}

}  // namespace unirun
