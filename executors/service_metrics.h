// ServiceMetrics takes what services count and measure about themselves. The host's own
// implementation (host/metrics/) keeps it for whoever asks for metrics; an executor passes on what
// its services say: ServiceContext::count() and gauge() inside this process, "metrics" frames of
// workers.
//
// Thread: any. Cheap, and never an error: what cannot be kept (a name too long, one too many, a
// counter that would go down, NaN) is left out and counted.

#pragma once

#include <string_view>

#include "framework/run_id.h"

namespace unirun {

class ServiceMetrics {
 public:
  virtual ~ServiceMetrics() = default;

  // Adds to a counter of the service at `path`; counters live as long as the child, over restarts.
  virtual void count(std::string_view path, std::string_view name, double by) = 0;

  // Sets a gauge of the service at `path`; gauges end with the run that set them. The next run may
  // set its own before everybody has heard of the last one's end.
  virtual void gauge(std::string_view path, RunId run, std::string_view name, double value) = 0;
};

}  // namespace unirun
