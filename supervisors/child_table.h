// ChildTable keeps the children of one supervisor in start order, and finds them by id, by run and
// by deadline. Every operation is O(log n) or better. A Child's address is good until erase().

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "supervisors/child.h"

namespace unirun::detail {

class ChildTable {
 public:
  // Joins at the end of the start order. REQUIRES: no child has this id.
  Child& add(std::string id, std::shared_ptr<const ChildSpec> spec);

  void reserve(std::size_t children);

  // REQUIRES: nothing runs under it.
  void erase(Child& child);

  // Null if there is none.
  [[nodiscard]] Child* find(std::string_view id) const;
  [[nodiscard]] Child* find(RunId run) const;
  [[nodiscard]] Child* previous(const Child& child) const;

  void set_run(Child& child, RunId run);
  void clear_run(Child& child);

  void set_deadline(Child& child, Instant deadline);
  void clear_deadline(Child& child);

  // The child whose deadline is first, if that is `now` or past. Its deadline is cleared.
  [[nodiscard]] Child* take_due(Instant now);
  [[nodiscard]] Instant next_deadline() const;  // Instant::max() if there is none.

  // Puts `first` to the front of the start order, as it is listed; the rest keeps its own order
  // behind.
  void reorder(const std::vector<Child*>& first);

  // Reads every child's depends_on anew. True if there is any.
  bool link_dependencies();

  void replace_spec(Child& child, std::shared_ptr<const ChildSpec> spec);

  [[nodiscard]] std::size_t size() const { return by_order_.size(); }
  [[nodiscard]] std::size_t with_run() const { return with_run_; }
  [[nodiscard]] std::size_t supervisors() const { return supervisors_; }

  // In start order.
  [[nodiscard]] auto begin() { return by_order_.begin(); }
  [[nodiscard]] auto end() { return by_order_.end(); }
  [[nodiscard]] auto begin() const { return by_order_.begin(); }
  [[nodiscard]] auto end() const { return by_order_.end(); }
  [[nodiscard]] auto from(const Child& child) { return by_order_.find(child.order); }

 private:
  using DeadlineKey = std::pair<Instant, std::uint64_t>;

  Child::Order last_order_ = 0;
  std::map<Child::Order, Child> by_order_;
  std::unordered_map<std::string_view, Child*> by_id_;  // The keys are the children's own ids.
  std::unordered_map<RunId, Child*> by_run_;
  std::uint64_t last_serial_ = 0;
  std::map<DeadlineKey, Child*> deadlines_;
  std::size_t with_run_ = 0;
  std::size_t supervisors_ = 0;
};

}  // namespace unirun::detail
