#include "supervisors/supervision_tree.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "framework/require.h"
#include "supervisors/outbox.h"
#include "supervisors/supervisor.h"

namespace unirun {

std::pair<std::string, std::string> split_path(std::string_view path) {
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", std::string(path)};
  return {std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

struct SupervisionTree::Impl {
  // One who asked for the end, and for how long they will wait.
  struct Stopper {
    std::uint64_t number = 0;
    std::function<void(Status)> reply;
    TimerId timer = TimerId::none;
  };

  Impl(const SupervisionWorld& given, std::shared_ptr<const SupervisorSpec> root_spec)
      : world(given), outbox(given.events), spec(std::move(root_spec)) {}

  ~Impl() {
    for (const Stopper& stopper : stoppers) world.timers.cancel_timer(stopper.timer);
  }

  void started() {
    said_started = true;
    outbox.call([this] { on_started({}); });
  }

  void root_ended(ExitReason reason) {
    has_ended = true;
    outbox.call([this, reason = std::move(reason)] {
      if (!said_started) on_started(Error{Errc::start_failed, reason.describe()});
      for (Stopper& stopper : std::exchange(stoppers, {})) {
        world.timers.cancel_timer(stopper.timer);
        if (stopper.reply) stopper.reply({});
      }
      on_ended(reason);
    });
  }

  void stop_timed_out(std::uint64_t number, Duration timeout) {
    const auto late = std::find_if(stoppers.begin(), stoppers.end(),
                                   [&](const Stopper& s) { return s.number == number; });
    if (late == stoppers.end()) return;
    const auto reply = std::move(late->reply);
    stoppers.erase(late);
    reply(Error{Errc::timeout, fmt::format("not stopped within {}; the stopping goes on",
                                           format_duration(timeout))});
  }

  [[nodiscard]] Result<Supervisor*> find_supervisor(std::string_view path) const {
    if (!root || has_ended) return Error{Errc::not_found, "the tree does not run"};
    Supervisor* at = root.get();
    for (std::string_view rest = path; !rest.empty();) {
      const std::string id(rest.substr(0, rest.find('/')));
      rest.remove_prefix(std::min(rest.size(), id.size() + 1));
      const Result<ChildSnapshot> child = at->child(id);
      if (!child) return Error{Errc::not_found, fmt::format("no supervisor at \"{}\"", path)};
      Supervisor* below = at->nested(child->run);
      if (!below) {
        const char* why = child->type == ChildType::worker ? "is a worker and no supervisor"
                                                           : "is a supervisor that does not run";
        return Error{Errc::not_found, fmt::format("\"{}\" {}", child->path, why)};
      }
      at = below;
    }
    return at;
  }

  void command(std::string_view supervisor, Command command, Reply reply) {
    const Result<Supervisor*> found = find_supervisor(supervisor);
    if (found) return (*found)->call(std::move(command), std::move(reply));
    if (reply) reply(found.error());
  }

  [[nodiscard]] static std::vector<TreeSnapshot> below(const Supervisor& supervisor) {
    std::vector<TreeSnapshot> all;
    for (ChildSnapshot& child : supervisor.children()) {
      TreeSnapshot node;
      if (const Supervisor* nested = supervisor.nested(child.run)) {
        node.supervisor = nested->snapshot();
        node.children = below(*nested);
      }
      node.child = std::move(child);
      all.push_back(std::move(node));
    }
    return all;
  }

  const SupervisionWorld world;
  detail::Outbox outbox;
  std::shared_ptr<const SupervisorSpec> spec;  // Until the start.
  std::shared_ptr<Supervisor> root;
  std::function<void(Status)> on_started;
  std::function<void(ExitReason)> on_ended;
  bool said_started = false;
  bool has_ended = false;
  std::uint64_t last_stopper = 0;
  std::vector<Stopper> stoppers;
};

SupervisionTree::SupervisionTree(const SupervisionWorld& world,
                                 std::shared_ptr<const SupervisorSpec> spec)
    : impl_(std::make_unique<Impl>(world, std::move(spec))) {}

SupervisionTree::~SupervisionTree() = default;

Status SupervisionTree::start(std::function<void(Status)> on_started,
                              std::function<void(ExitReason)> on_ended) {
  UNIRUN_REQUIRE(!impl_->root);
  if (const auto faults = check(*impl_->spec); !faults.empty()) return to_error(faults);
  impl_->on_started = on_started ? std::move(on_started) : [](const Status&) {};
  impl_->on_ended = on_ended ? std::move(on_ended) : [](const ExitReason&) {};
  impl_->root = std::make_shared<Supervisor>(impl_->world, impl_->outbox, std::string(),
                                             std::move(impl_->spec));
  impl_->root->start(
      [impl = impl_.get()] { impl->started(); },
      [impl = impl_.get()](ExitReason reason) { impl->root_ended(std::move(reason)); });
  return {};
}

void SupervisionTree::stop(ExitReason reason, std::optional<Duration> timeout,
                           std::function<void(Status)> reply) {
  if (ended()) {
    if (reply) reply({});
    return;
  }
  Impl::Stopper stopper;
  stopper.number = ++impl_->last_stopper;
  stopper.reply = std::move(reply);
  if (timeout && stopper.reply) {
    const auto& world = impl_->world;
    stopper.timer = world.timers.start_timer(
        world.clock.now() + *timeout, [impl = impl_.get(), number = stopper.number, t = *timeout] {
          impl->stop_timed_out(number, t);
        });
  }
  impl_->stoppers.push_back(std::move(stopper));
  impl_->root->shut_down(std::move(reason));
}

void SupervisionTree::kill_all() {
  if (!ended()) impl_->root->kill_all();
}

void SupervisionTree::start_child(std::string_view supervisor, ChildSpec child, Reply reply) {
  auto spec = std::make_shared<const ChildSpec>(std::move(child));
  impl_->command(supervisor, command::StartChild{std::move(spec)}, std::move(reply));
}

void SupervisionTree::start_child(std::string_view supervisor,
                                  std::vector<nlohmann::json> arguments, Reply reply) {
  auto shared = std::make_shared<const Arguments>(std::move(arguments));
  impl_->command(supervisor, command::StartDynamicChild{std::move(shared)}, std::move(reply));
}

void SupervisionTree::terminate_child(std::string_view supervisor, const ChildRef& child,
                                      Reply reply) {
  impl_->command(supervisor, command::TerminateChild{child}, std::move(reply));
}

void SupervisionTree::restart_child(std::string_view supervisor, const ChildRef& child,
                                    Reply reply) {
  impl_->command(supervisor, command::RestartChild{child}, std::move(reply));
}

void SupervisionTree::delete_child(std::string_view supervisor, const ChildRef& child,
                                   Reply reply) {
  impl_->command(supervisor, command::DeleteChild{child}, std::move(reply));
}

void SupervisionTree::restart(std::string_view supervisor, const ChildRef& child, Reply reply) {
  impl_->command(supervisor, command::Restart{child}, std::move(reply));
}

void SupervisionTree::kill(std::string_view supervisor, const ChildRef& child, Reply reply) {
  impl_->command(supervisor, command::Kill{child}, std::move(reply));
}

void SupervisionTree::code_change(std::string_view supervisor, SupervisorSpec spec,
                                  std::function<void(Status)> changed) {
  auto shared = std::make_shared<const SupervisorSpec>(std::move(spec));
  impl_->command(supervisor, command::CodeChange{std::move(shared)},
                 [changed = std::move(changed)](const Result<ChildSnapshot>& outcome) {
                   if (changed) changed(outcome ? Status{} : Status{outcome.error()});
                 });
}

Result<std::vector<ChildSnapshot>> SupervisionTree::which_children(
    std::string_view supervisor) const {
  const Result<Supervisor*> found = impl_->find_supervisor(supervisor);
  if (!found) return found.error();
  std::vector<ChildSnapshot> children = (*found)->children();
  std::reverse(children.begin(), children.end());
  return children;
}

Result<ChildSnapshot> SupervisionTree::which_child(std::string_view supervisor,
                                                   const ChildRef& child) const {
  const Result<Supervisor*> found = impl_->find_supervisor(supervisor);
  if (!found) return found.error();
  return (*found)->child(child);
}

Result<ChildSpec> SupervisionTree::get_childspec(std::string_view supervisor,
                                                 const ChildRef& child) const {
  const Result<Supervisor*> found = impl_->find_supervisor(supervisor);
  if (!found) return found.error();
  return (*found)->supervision().childspec(child);
}

Result<ChildCounts> SupervisionTree::count_children(std::string_view supervisor) const {
  const Result<Supervisor*> found = impl_->find_supervisor(supervisor);
  if (!found) return found.error();
  return (*found)->supervision().counts();
}

Result<SupervisorSnapshot> SupervisionTree::snapshot_of(std::string_view supervisor) const {
  const Result<Supervisor*> found = impl_->find_supervisor(supervisor);
  if (!found) return found.error();
  return (*found)->snapshot();
}

TreeSnapshot SupervisionTree::snapshot() const {
  TreeSnapshot tree;
  tree.child.type = ChildType::supervisor;
  if (ended()) return tree;
  tree.supervisor = impl_->root->snapshot();
  tree.child.state = tree.supervisor->stopping  ? ServiceState::stopping
                     : tree.supervisor->started ? ServiceState::running
                                                : ServiceState::starting;
  tree.children = Impl::below(*impl_->root);
  return tree;
}

Result<ChildSnapshot> SupervisionTree::find(std::string_view path) const {
  const auto [supervisor, id] = split_path(path);
  return which_child(supervisor, id);
}

bool SupervisionTree::ended() const { return !impl_->root || impl_->has_ended; }

}  // namespace unirun
