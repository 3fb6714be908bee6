// What a service says through a logger, wherever the service lives: an event for those who observe,
// and a line among the service's others ("LEVEL logger: message"), so that `unirun logs` and the
// record of a death show it.
//
// Thread: the loop's.

#pragma once

#include <string>

#include "executors/output/service_output.h"
#include "framework/event.h"

namespace unirun {

class EventBus;

// `output` may be null: a service whose output is not captured. `record.run` is set.
void keep_log_record(EventBus& bus, ServiceOutput* output, const std::string& path,
                     ServiceLog record);

}  // namespace unirun
