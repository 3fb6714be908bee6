// What leaves a service, turned into an ExitReason: the one place for threads and coroutines.
//
//   returns                            normal, or shutdown where a stop had been requested
//   throws Cancelled after a request   shutdown
//   throws ServiceEnded                the reason that it carries
//   throws Declined                    it declined to run
//   throws anything else               exception: the type as C++ writes it, and what()
//
// Pure functions. Thread: any.

#pragma once

#include <exception>

#include "framework/exit_reason.h"

namespace unirun {

struct ServiceEnd {
  ExitReason reason;
  bool declined = false;
};

// `failure` is what left run() or run_async(); null: it returned.
[[nodiscard]] ServiceEnd service_end(const std::exception_ptr& failure, bool stop_requested);

// `failure` left the service's constructor or prepare(): it never came to run. REQUIRES: not null.
[[nodiscard]] ServiceEnd preparation_failed(const std::exception_ptr& failure);

}  // namespace unirun
