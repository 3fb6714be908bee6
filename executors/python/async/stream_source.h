// The source of a stream is what calls its function and makes its items: turns on workers, or, for
// what is asynchronous, a coroutine on a loop.

#pragma once

#include <memory>

#include "executors/python/async/stream_state.h"
#include "executors/python/calls/call_spec.h"

namespace unirun::python {

// Has the stream end with what is wrong with the call. Thread: any.
void start_stream_source(std::shared_ptr<StreamState<Value>> stream, CallSpec call);

}  // namespace unirun::python
