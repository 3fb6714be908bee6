// Limiter lets so many of those who ask for one thing go on at once and a bounded number wait; who
// waits goes on in the order of asking, woken by the one who leaves. Nobody polls, nobody
// overtakes.
//
// A place belongs to a Permit and comes back with its end. Where the one who uses it is elsewhere
// (a worker process) it has an owner, and comes back with the owner's end too.
//
// Thread: any; a Permit and a LimiterWait one at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "executors/python/error.h"
#include "framework/time.h"

namespace unirun::python {

struct LimiterOptions {
  std::size_t max_concurrent = 1;  // 0: nobody, until that changes.
  std::size_t max_queue = 10'000;  // Who may wait; one more is `overloaded`.
};

struct LimiterFigures {
  LimiterOptions options;
  std::size_t held = 0;  // Permits. More than max_concurrent where that has been lowered since.
  std::size_t waiting = 0;
  std::uint64_t granted = 0;  // Since the limiter was made, as the next two.
  std::uint64_t overloaded = 0;
  std::uint64_t orphaned = 0;  // Permits that came back because their owner had died.
};

// Whose permits go back with its end, as release_permits_of() is told: a number that is never used
// for another. 0: nobody's.
using OwnerId = std::uint64_t;

class LimiterCore;
struct LimiterClaim;

// Holds one place.
class [[nodiscard]] Permit {
 public:
  Permit() = default;  // Of nothing.
  Permit(Permit&&) noexcept = default;
  Permit& operator=(Permit&& other) noexcept;
  ~Permit() { release(); }

  // Gives the place back, now. Nothing if it has been given back.
  void release() noexcept;

  // False for one of nothing, once released, and once the owner has died.
  [[nodiscard]] bool is_held() const;

 private:
  friend class LimiterCore;
  Permit(std::shared_ptr<LimiterCore> core, std::shared_ptr<LimiterClaim> claim)
      : core_(std::move(core)), claim_(std::move(claim)) {}

  std::shared_ptr<LimiterCore> core_;
  std::shared_ptr<LimiterClaim> claim_;
};

// One who waits for a permit. Dropping it changes nothing.
class LimiterWait {
 public:
  LimiterWait() = default;  // Of nobody.

  // True if it waited still: it has been told `cancelled` then. False if it has been told, or is
  // just being told, something else.
  bool cancel();

 private:
  friend class LimiterCore;
  LimiterWait(std::shared_ptr<LimiterCore> core, std::shared_ptr<LimiterClaim> claim)
      : core_(std::move(core)), claim_(std::move(claim)) {}

  std::shared_ptr<LimiterCore> core_;
  std::shared_ptr<LimiterClaim> claim_;
};

class Limiter {
 public:
  // Hears the outcome, once: on the thread that brought it about, here and now if it is known now.
  // Outcomes of one limiter are told one after the other. It must not throw nor wait for anything:
  // let it post to a loop.
  using Told = std::function<void(Result<Permit>)>;

  // Errors: overloaded (none is free, or others wait), with the name and the figures.
  [[nodiscard]] Result<Permit> try_acquire(OwnerId owner = 0) const;

  // Waits its turn; for threads that may: a GIL that is held is let go of meanwhile. Errors:
  // overloaded, if as many wait as may; timeout; worker_lost, if the owner died meanwhile; and
  // where none is free, at once, unsupported on an event loop's thread and loop_running inside a
  // coroutine of Python's: who has the permit may wait for that thread.
  [[nodiscard]] Result<Permit> acquire(Duration timeout = Duration::max(), OwnerId owner = 0) const;

  // Does not wait. Errors, to `told`: overloaded; cancelled, by LimiterWait::cancel() or because
  // nobody was left to hand a permit on; worker_lost.
  LimiterWait acquire_async(Told told, OwnerId owner = 0) const;

  // Takes effect at once: more go on now, or fewer from now on. Who waits goes on waiting.
  void configure(LimiterOptions options) const;

  [[nodiscard]] LimiterFigures figures() const;
  [[nodiscard]] const std::string& name() const;

 private:
  friend Limiter limiter(std::string_view name, LimiterOptions options);
  explicit Limiter(std::shared_ptr<LimiterCore> core) : core_(std::move(core)) {}

  std::shared_ptr<LimiterCore> core_;
};

// The one of that name in this process, with these options from now on. It lives as long as a
// Limiter, a permit or a wait of it does.
[[nodiscard]] Limiter limiter(std::string_view name, LimiterOptions options);

// Takes back every permit of an owner that has died, and ends its waits, in every limiter; says how
// many permits it had.
std::size_t release_permits_of(OwnerId owner);

}  // namespace unirun::python
