// EventInlet lets other threads publish into the bus of a loop, tens of times faster than a post()
// each: events gather in chunks, and the loop is woken once a burst and takes all there is.
//
// Thread: publish() any, several at once; the rest the loop's. Bus and loop outlive it.
// The loop never waits for a publisher: where it finds the lock taken, it comes again.

#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "framework/event_bus.h"
#include "framework/event_loop.h"

namespace unirun {

class EventInlet {
 public:
  // Holds at most `capacity` events that the loop has not taken yet.
  EventInlet(EventBus& bus, EventLoop& loop, std::size_t capacity = 8'192,
             std::string name = "inlet");

  // What has arrived is still published. REQUIRES: no publish() at work, none to come.
  ~EventInlet();
  EventInlet(const EventInlet&) = delete;
  EventInlet& operator=(const EventInlet&) = delete;

  // The event is numbered and stamped when the loop takes it; events of one thread keep their
  // order. False if the inlet is full: the event is dropped, and a Warning will say how many were.
  bool publish(std::string path, EventPayload payload);

 private:
  struct State;
  std::shared_ptr<State> state_;  // Held by the wake that is on its way, too.
};

}  // namespace unirun
