// What a coroutine on a loop can wait for. Each takes the loop and a token; in a service the
// context stands for both. All of them keep two promises: a cancellation ends the wait, and a
// coroutine that is destroyed while it waits leaves no timer, watch or callback behind.

#pragma once

#include <utility>

#include "framework/awaitables/blocking_call.h"
#include "framework/awaitables/cancellation_wait.h"
#include "framework/awaitables/descriptor_wait.h"
#include "framework/awaitables/future_wait.h"
#include "framework/awaitables/sleep.h"
#include "framework/awaitables/turn.h"
#include "framework/awaitables/when_all.h"
#include "framework/service.h"

namespace unirun {

inline Sleep sleep_for(ServiceContext& context, Duration duration) {
  return sleep_for(context.loop(), duration, context.cancellation());
}
inline LoopTurn next_turn(ServiceContext& context) {
  return next_turn(context.loop(), context.cancellation());
}
inline CancellationWait cancelled(ServiceContext& context) {
  return cancelled(context.loop(), context.cancellation());
}
template <class T>
FutureWait<T> outcome_of(ServiceContext& context, Future<T> future) {
  return outcome_of(context.loop(), std::move(future), context.cancellation());
}
inline DescriptorWait ready(ServiceContext& context, int descriptor, Interest interest) {
  return ready(context.loop(), descriptor, interest, context.cancellation());
}
template <class Function>
auto run_blocking(ServiceContext& context, Function&& function) {
  return run_blocking(context.loop(), std::forward<Function>(function), context.cancellation());
}

}  // namespace unirun
