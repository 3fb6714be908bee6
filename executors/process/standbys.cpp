#include "executors/process/standbys.h"

#include <algorithm>
#include <utility>

namespace unirun {
namespace {

// Not at once: whoever has just begun needs the processor more.
constexpr Duration after_start = std::chrono::milliseconds{10};
// A standby that cannot even wait is tried again, with growing pauses; after so many in a row only
// when the service has started once more, for an idle host is to be idle.
constexpr Duration first_pause = std::chrono::seconds{1};
constexpr unsigned max_failures = 6;
// A service that does not come back within this time needs none: it was given up, or deleted.
constexpr Duration farewell_time = std::chrono::minutes{1};

}  // namespace

Standbys::Standbys(RunWorld& world, ProcessRun::Owner& owner) : world_(world), owner_(owner) {}

Standbys::~Standbys() { clear(); }

std::unique_ptr<ProcessRun> Standbys::take(const Launch& launch) {
  const auto found = services_.find(launch.path);
  if (found == services_.end()) return nullptr;
  Service& service = found->second;
  if (service.launch.service != launch.service) {  // Its spec has changed.
    drop(launch.path);
    return nullptr;
  }
  const auto standby =
      std::find_if(service.standbys.begin(), service.standbys.end(),
                   [](const Standby& each) { return each.waits && !each.run->has_died(); });
  if (standby == service.standbys.end()) return nullptr;
  std::unique_ptr<ProcessRun> run = std::move(standby->run);
  service.standbys.erase(standby);
  service.failures = 0;
  return run;
}

void Standbys::service_runs(const Launch& launch) {
  if (launch.service->standby == 0) return;
  Service& service = services_[launch.path];
  if (service.launch.service != launch.service) leave(service);
  service.launch = launch;
  world_.loop.cancel_timer(std::exchange(service.farewell, TimerId::none));
  if (service.refill == TimerId::none) refill_in(after_start, service);
}

void Standbys::service_ended(const std::string& path) {
  const auto found = services_.find(path);
  if (found == services_.end() || found->second.farewell != TimerId::none) return;
  found->second.farewell = world_.loop.start_timer(world_.loop.clock().now() + farewell_time,
                                                   [this, path] { drop(path); });
}

void Standbys::service_stopped(const std::string& path) { drop(path); }

void Standbys::waits(const ProcessRun& run) {
  const auto found = services_.find(run.path());
  if (found == services_.end()) return;
  for (Standby& standby : found->second.standbys) {
    if (standby.run.get() == &run) standby.waits = true;
  }
}

void Standbys::ended(const ProcessRun& run) {
  const auto is_it = [&run](const auto& each) { return each.get() == &run; };
  if (std::erase_if(leaving_, is_it) > 0) return;
  const auto found = services_.find(run.path());
  if (found == services_.end()) return;
  Service& service = found->second;
  const auto erased = std::erase_if(
      service.standbys, [&run](const Standby& standby) { return standby.run.get() == &run; });
  if (erased == 0) return;
  try_again(service);
}

void Standbys::try_again(Service& service) {
  world_.loop.cancel_timer(std::exchange(service.refill, TimerId::none));
  if (service.failures >= max_failures) return;
  refill_in(first_pause * (1U << service.failures++), service);
}

void Standbys::refill_in(Duration wait, Service& service) {
  service.refill = world_.loop.start_timer(world_.loop.clock().now() + wait, [this, &service] {
    service.refill = TimerId::none;
    refill(service);
  });
}

void Standbys::refill(Service& service) {
  while (service.standbys.size() < service.launch.service->standby) {
    Launch launch = service.launch;
    launch.run = RunId{};
    auto run = std::make_unique<ProcessRun>(world_, owner_, nullptr, std::move(launch));
    if (run->start().state != LaunchOutcome::State::starting) {
      // No template, or no descriptors: the service itself does without for now.
      return try_again(service);
    }
    service.standbys.push_back({std::move(run), false});
  }
}

void Standbys::add_numbers(std::vector<std::uint64_t>& numbers) const {
  for (const auto& run : leaving_) numbers.push_back(run->number());
  for (const auto& [path, service] : services_) {
    for (const Standby& standby : service.standbys) numbers.push_back(standby.run->number());
  }
}

void Standbys::drop(const std::string& path) {
  const auto found = services_.find(path);
  if (found == services_.end()) return;
  leave(found->second);
  services_.erase(found);
}

// Nobody waits for their ends: the memory of one may take its time to go.
void Standbys::leave(Service& service) {
  world_.loop.cancel_timer(std::exchange(service.refill, TimerId::none));
  world_.loop.cancel_timer(std::exchange(service.farewell, TimerId::none));
  for (Standby& standby : service.standbys) {
    standby.run->kill();
    leaving_.push_back(std::move(standby.run));
  }
  service.standbys.clear();
}

void Standbys::clear() {
  for (auto& [path, service] : services_) leave(service);
  services_.clear();
  leaving_.clear();
}

}  // namespace unirun
