#include "executors/output/service_log.h"

#include <fmt/format.h>

#include <utility>

#include "executors/output/line_splitter.h"
#include "framework/event_bus.h"

namespace unirun {

void keep_log_record(EventBus& bus, ServiceOutput* output, const std::string& path,
                     ServiceLog record) {
  if (output != nullptr) {
    const std::string text = fmt::format("{} {}: {}", record.level, record.logger, record.message);
    LineSplitter lines;
    const auto keep = [&](std::string_view part, bool continued) {
      output->append(record.run, OutputStream::log, part, continued);
    };
    lines.feed(text, keep);
    lines.finish(keep);
  }
  if (bus.wants(EventKind::service_log)) bus.publish(path, std::move(record));
}

}  // namespace unirun
