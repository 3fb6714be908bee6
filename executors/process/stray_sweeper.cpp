#include "executors/process/stray_sweeper.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "executors/process/extermination.h"
#include "executors/process/host_mark.h"
#include "executors/process/process_table.h"

namespace unirun {
namespace {

constexpr Duration after_a_death = std::chrono::milliseconds{5};
constexpr Duration min_interval = std::chrono::milliseconds{50};
// At most this share of one processor goes into sweeps, however many services die.
constexpr int busy_share = 10;

}  // namespace

// One sweep, on the worker thread: what was true on the loop when it began, and what it found.
struct StraySweeper::Sweep final : ProcessSet {
  // ---- Given ----
  pid_t host = ::getpid();
  std::string host_mark;
  Launches launches;                // The live ones sorted.
  std::unordered_set<pid_t> known;  // Children of ours, not strays.
  bool to_the_last = false;         // A drain.
  bool unmarked_too = false;        // What carries no mark can only be ours.

  // ---- Found ----
  std::map<std::uint64_t, std::uint64_t> killed;  // By launch; 0: of none that we know.
  std::unordered_set<pid_t> killed_pids;
  std::vector<pid_t> dead;  // Adopted, and to be reaped.
  Duration took{};

  // Which launch the mark names.
  [[nodiscard]] Found find_launch(pid_t pid, std::uint64_t& launch) const;
  [[nodiscard]] bool is_over(std::uint64_t launch) const {
    if (launch == 0) return to_the_last;  // launch_of_host
    return launch <= launches.last &&
           !std::binary_search(launches.live.begin(), launches.live.end(), launch);
  }
  [[nodiscard]] Found contains(pid_t pid) const override;

  void work();
  [[nodiscard]] bool pass();
  void kill_below(const ProcessEntry& top, std::uint64_t launch,
                  const std::unordered_multimap<pid_t, pid_t>& children_of);
};

Found StraySweeper::Sweep::find_launch(pid_t pid, std::uint64_t& launch) const {
  char text[HostMark::max_text];
  Found found = read_environment(pid, host_mark_variable, text, sizeof text);
  if (found != Found::yes) return found;
  if (host_mark != text) return Found::no;
  found = read_environment(pid, launch_mark_variable, text, sizeof text);
  if (found != Found::yes) return found;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), launch);
  return error == std::errc{} && *end == '\0' ? Found::yes : Found::no;
}

Found StraySweeper::Sweep::contains(pid_t pid) const {
  if (pid == host || known.count(pid) > 0) return Found::no;
  std::uint64_t launch = 0;
  const Found found = find_launch(pid, launch);
  if (found != Found::yes) return found;
  return is_over(launch) ? Found::yes : Found::no;
}

void StraySweeper::Sweep::kill_below(const ProcessEntry& top, std::uint64_t launch,
                                     const std::unordered_multimap<pid_t, pid_t>& children_of) {
  std::vector<pid_t> tree{top.pid};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [first, last] = children_of.equal_range(tree[i]);
    for (auto child = first; child != last; ++child) tree.push_back(child->second);
  }
  // Stopped first: one that sees its parent die must not have the time to act on it.
  for (const pid_t pid : tree) ::kill(pid, SIGSTOP);
  for (const pid_t pid : tree) {
    ::kill(pid, SIGKILL);
    if (killed_pids.insert(pid).second) ++killed[launch];
  }
}

// True if nothing was found that has to die.
bool StraySweeper::Sweep::pass() {
  std::vector<ProcessEntry> tops;
  std::unordered_multimap<pid_t, pid_t> children_of;
  dead.clear();
  ProcessWalk walk;
  while (const pid_t pid = walk.next()) {
    ProcessEntry entry;
    if (!read_process(pid, entry)) continue;
    if (entry.parent != host) {
      if (!entry.is_dead()) children_of.emplace(entry.parent, pid);
    } else if (known.count(pid) == 0) {
      if (entry.is_dead()) {
        dead.push_back(pid);
      } else {
        tops.push_back(entry);
      }
    }
  }
  bool clean = true;
  for (const ProcessEntry& top : tops) {
    std::uint64_t launch = 0;
    const Found found = find_launch(top.pid, launch);
    // In the midst of an exec, or of its death: the next pass knows.
    if (found == Found::unclear) clean = false;
    if (found == Found::yes ? is_over(launch) : found == Found::no && unmarked_too) {
      kill_below(top, launch, children_of);
      clean = false;
    }
  }
  return clean;
}

void StraySweeper::Sweep::work() {
  constexpr int patient_passes = 4;  // Then they multiply faster than we kill one by one.
  constexpr int max_passes = 200;    // One that cannot be killed must not keep us for ever.
  for (int i = 0; i < max_passes; ++i) {
    if (pass()) break;
    if (i >= patient_passes) exterminate(*this);
    wait_for_the_dying();
  }
  // What a foreign sub-reaper below us has adopted is nobody's child here, and still ours.
  if (to_the_last) killed[0] += exterminate(*this);
}

StraySweeper::StraySweeper(EventLoop& loop, EventBus& bus, const Children& children,
                           std::string host_mark, bool sole_parent,
                           std::function<Launches()> launches)
    : loop_(loop),
      bus_(bus),
      children_(children),
      host_mark_(std::move(host_mark)),
      sole_parent_(sole_parent),
      launches_(std::move(launches)) {}

StraySweeper::~StraySweeper() {
  *alive_ = false;
  loop_.cancel_timer(timer_);
}

void StraySweeper::run_ended(std::uint64_t number, std::string path,
                             std::function<void()> on_swept) {
  ended_.push_back({number, std::move(path), std::move(on_swept)});
  sweep_wanted_ = true;
  schedule(after_a_death);
}

void StraySweeper::drain(std::function<void()> on_drained) {
  on_drained_ = std::move(on_drained);
  sweep_wanted_ = true;
  earliest_ = {};
  loop_.cancel_timer(std::exchange(timer_, TimerId::none));
  schedule(Duration::zero());
}

void StraySweeper::schedule(Duration wait) {
  if (sweeping_ || timer_ != TimerId::none) return;  // It is looked at again when that is done.
  const Instant due = std::max(loop_.clock().now() + wait, earliest_);
  timer_ = loop_.start_timer(due, [this] {
    timer_ = TimerId::none;
    if (sweep_wanted_) begin();
    reap_adopted();
  });
}

void StraySweeper::begin() {
  sweep_wanted_ = false;
  sweeping_ = true;
  auto sweep = std::make_shared<Sweep>();
  sweep->host_mark = host_mark_;
  sweep->launches = launches_();
  std::sort(sweep->launches.live.begin(), sweep->launches.live.end());
  sweep->known = children_;
  sweep->to_the_last = on_drained_ != nullptr;
  sweep->unmarked_too = sweep->to_the_last && sole_parent_;
  auto ended = std::make_shared<std::vector<Ended>>(std::exchange(ended_, {}));
  const Instant began = loop_.clock().now();
  loop_.run_blocking([sweep] { sweep->work(); },
                     [this, sweep, ended, began, alive = alive_] {
                       if (!*alive) return;
                       sweep->took = loop_.clock().now() - began;
                       on_swept(*sweep, *ended);
                     });
}

void StraySweeper::on_swept(const Sweep& sweep, std::vector<Ended>& ended) {
  sweeping_ = false;
  earliest_ = loop_.clock().now() + std::max(min_interval, sweep.took * busy_share);
  for (const pid_t pid : sweep.dead) {
    // A child that was started since the sweep began is known by now.
    if (children_.count(pid) > 0) continue;
    if (sole_parent_ || sweep.killed_pids.count(pid) > 0) reap(pid);
  }
  report(sweep, ended);
  for (Ended& end : ended) end.on_swept();
  if (sweep.to_the_last) return std::exchange(on_drained_, nullptr)();
  if (sweep_wanted_ || reap_wanted_) schedule(on_drained_ ? Duration::zero() : after_a_death);
}

void StraySweeper::report(const Sweep& sweep, const std::vector<Ended>& ended) {
  for (const auto& [launch, count] : sweep.killed) {
    if (count == 0) continue;
    const auto end = std::find_if(ended.begin(), ended.end(), [number = launch](const Ended& each) {
      return each.number == number;
    });
    bus_.publish(end == ended.end() ? std::string() : end->path, StraysKilled{count});
  }
}

void StraySweeper::reap(pid_t pid) {
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG);
}

void StraySweeper::reap_soon() {
  reap_wanted_ = sole_parent_;
  if (reap_wanted_) schedule(after_a_death);
}

// Peeks first: the status of a child that we know belongs to whoever watches its pidfd.
void StraySweeper::reap_adopted() {
  if (!std::exchange(reap_wanted_, false)) return;
  while (true) {
    siginfo_t next{};
    const int options = WEXITED | WNOHANG | WNOWAIT;
    if (::waitid(P_ALL, 0, &next, options) < 0 || next.si_pid == 0) return;
    if (children_.count(next.si_pid) > 0) return reap_soon();  // It stands before the others.
    reap(next.si_pid);
  }
}

}  // namespace unirun
