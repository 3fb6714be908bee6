#include "python_bindings/pools/statistics.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <utility>

namespace unirun::bindings {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void Durations::add(Duration duration) {
  const Duration known = std::max(duration, Duration::zero());
  const auto microseconds = static_cast<std::uint64_t>(known.count()) / 1000;
  ++counts_[std::min<std::size_t>(std::bit_width(microseconds), counts_.size() - 1)];
  ++count_;
  sum_ += known;
  longest_ = std::max(longest_, known);
}

PyObject* Durations::as_dict() const {
  Reference buckets = Reference::steal(PyList_New(0));
  for (std::size_t at = 0; buckets && at < counts_.size(); ++at) {
    if (counts_[at] == 0) continue;
    const double bound =
        at + 1 < counts_.size() ? static_cast<double>(std::uint64_t{1} << at) / 1e6 : Py_HUGE_VAL;
    const Reference bucket = Reference::steal(Py_BuildValue("[dK]", bound, counts_[at]));
    if (!bucket || PyList_Append(buckets.get(), bucket.get()) != 0) return nullptr;
  }
  if (!buckets) return nullptr;
  return Py_BuildValue("{sKsdsdsO}", "count", count_, "sum", seconds(sum_), "max",
                       seconds(longest_), "buckets", buckets.get());
}

void Statistics::ring() {
  const std::uint64_t once = 1;
  // Full, it has been rung already.
  static_cast<void>(!::write(std::exchange(bell, -1), &once, sizeof once));
}

PyObject* Statistics::as_dict(std::size_t queued, std::size_t running, std::size_t workers) const {
  const Reference wait = Reference::steal(waited.as_dict());
  const Reference run = wait ? Reference::steal(ran.as_dict()) : Reference();
  if (!run) return nullptr;
  return Py_BuildValue("{sKsKsKsKsnsnsnsOsO}", "submitted", submitted, "completed", completed,
                       "failed", failed, "cancelled", cancelled, "queued",
                       static_cast<Py_ssize_t>(queued), "running", static_cast<Py_ssize_t>(running),
                       "workers", static_cast<Py_ssize_t>(workers), "wait_seconds", wait.get(),
                       "run_seconds", run.get());
}

}  // namespace unirun::bindings
