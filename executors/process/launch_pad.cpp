#include "executors/process/launch_pad.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace unirun {

LaunchPad::LaunchPad() : null_(::open("/dev/null", O_RDWR | O_CLOEXEC)) {
  end_ = null_.get() + 1;
  for (UniqueFd& slot : slots_) {
    slot.reset(::fcntl(null_.get(), F_DUPFD_CLOEXEC, 0));
    end_ = std::max(end_, slot.get() + 1);
  }
}

bool LaunchPad::lay_out(std::vector<DescriptorMove>& moves) {
  if (!slots_.back()) return false;  // No descriptors were left when it was made.
  const auto fits = [this](const DescriptorMove& move) { return move.source == null(); };
  const auto in_place = std::count_if(moves.begin(), moves.end(), fits);
  if (moves.size() - static_cast<std::size_t>(in_place) > slot_count) return false;
  for (DescriptorMove& move : moves) {
    if (move.source == null()) continue;
    const int slot = slots_[in_use_++].get();
    // Cannot fail for want of descriptors: the slot is there. A source that is none stays as it
    // is, and the child says so.
    if (::dup3(move.source, slot, O_CLOEXEC) >= 0) move.source = slot;
  }
  return true;
}

void LaunchPad::clear() {
  while (in_use_ > 0) ::dup3(null(), slots_[--in_use_].get(), O_CLOEXEC);
}

}  // namespace unirun
