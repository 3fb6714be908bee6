#include "supervisors/child_table.h"

#include <algorithm>
#include <unordered_set>

#include "framework/require.h"

namespace unirun::detail {
namespace {

std::size_t one_if_supervisor(const ChildSpec& spec) {
  return spec.type() == ChildType::supervisor ? 1 : 0;
}

const std::vector<Child*> no_children;

Edges& edges_of(Child& child) {
  if (!child.edges) child.edges = std::make_unique<Edges>();
  return *child.edges;
}

}  // namespace

bool Child::has_caller(Awaits what) const {
  return std::any_of(callers.begin(), callers.end(),
                     [what](const Caller& caller) { return caller.what == what; });
}

std::vector<CallId> Child::take_callers(Awaits what) {
  std::vector<CallId> taken;
  std::vector<Caller> others;
  for (const Caller& caller : callers) {
    if (caller.what == what) {
      taken.push_back(caller.call);
    } else {
      others.push_back(caller);
    }
  }
  callers = std::move(others);
  return taken;
}

const std::vector<Child*>& Child::dependencies() const {
  return edges ? edges->dependencies : no_children;
}

const std::vector<Child*>& Child::dependents() const {
  return edges ? edges->dependents : no_children;
}

void ChildTable::reserve(std::size_t children) {
  by_id_.reserve(children);
  by_run_.reserve(children);
}

Child& ChildTable::add(std::string id, std::shared_ptr<const ChildSpec> spec) {
  UNIRUN_REQUIRE(find(id) == nullptr);
  const Child::Order order = ++last_order_;
  Child& child = by_order_[order];
  child.order = order;
  child.id = std::move(id);
  child.spec = std::move(spec);
  by_id_.emplace(child.id, &child);
  supervisors_ += one_if_supervisor(*child.spec);
  return child;
}

void ChildTable::erase(Child& child) {
  UNIRUN_REQUIRE(!child.has_run());
  clear_deadline(child);
  by_id_.erase(child.id);
  by_run_.erase(child.run);
  supervisors_ -= one_if_supervisor(*child.spec);
  by_order_.erase(child.order);
}

Child* ChildTable::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Child* ChildTable::find(RunId run) const {
  const auto found = by_run_.find(run);
  return found == by_run_.end() ? nullptr : found->second;
}

Child* ChildTable::previous(const Child& child) const {
  const auto at = by_order_.find(child.order);
  return at == by_order_.begin() ? nullptr : const_cast<Child*>(&std::prev(at)->second);
}

void ChildTable::set_run(Child& child, RunId run) {
  UNIRUN_REQUIRE(!child.has_run() && run != RunId::none);
  by_run_.erase(child.run);
  child.run = run;
  child.alive = true;
  by_run_.emplace(run, &child);
  ++with_run_;
}

void ChildTable::clear_run(Child& child) {
  UNIRUN_REQUIRE(child.has_run());
  child.alive = false;  // The handle stays, until another run takes its place.
  --with_run_;
}

void ChildTable::set_deadline(Child& child, Instant deadline) {
  clear_deadline(child);
  child.deadline = deadline;
  child.deadline_serial = ++last_serial_;
  deadlines_.emplace(DeadlineKey{deadline, child.deadline_serial}, &child);
}

void ChildTable::clear_deadline(Child& child) {
  if (!child.has_deadline()) return;
  deadlines_.erase({child.deadline, child.deadline_serial});
  child.deadline = Instant::max();
}

Child* ChildTable::take_due(Instant now) {
  if (deadlines_.empty() || deadlines_.begin()->first.first > now) return nullptr;
  Child* child = deadlines_.begin()->second;
  clear_deadline(*child);
  return child;
}

Instant ChildTable::next_deadline() const {
  return deadlines_.empty() ? Instant::max() : deadlines_.begin()->first.first;
}

void ChildTable::reorder(const std::vector<Child*>& first) {
  const std::unordered_set<const Child*> listed(first.begin(), first.end());
  std::vector<Child*> rest;
  for (auto& [order, child] : by_order_) {
    if (listed.count(&child) == 0) rest.push_back(&child);
  }
  // A map node keeps its address when its key changes.
  const auto move_to_end = [this](Child* child) {
    auto node = by_order_.extract(child->order);
    node.key() = child->order = ++last_order_;
    by_order_.insert(std::move(node));
  };
  std::for_each(first.begin(), first.end(), move_to_end);
  std::for_each(rest.begin(), rest.end(), move_to_end);
}

bool ChildTable::link_dependencies() {
  bool any = false;
  for (auto& [order, child] : by_order_) child.edges.reset();
  for (auto& [order, child] : by_order_) {
    for (const Dependency& dependency : child.spec->depends_on) {
      Child* sibling = find(dependency.id);
      UNIRUN_REQUIRE(sibling != nullptr);
      edges_of(child).dependencies.push_back(sibling);
      edges_of(*sibling).dependents.push_back(&child);
      any = true;
    }
  }
  return any;
}

void ChildTable::replace_spec(Child& child, std::shared_ptr<const ChildSpec> spec) {
  supervisors_ -= one_if_supervisor(*child.spec);
  supervisors_ += one_if_supervisor(*spec);
  child.spec = std::move(spec);
}

}  // namespace unirun::detail
