#include "host/death_record.h"

#include <chrono>

namespace unirun {

nlohmann::json to_json(const DeathRecord& record) {
  const auto seconds = [](Duration duration) {
    return std::chrono::duration<double>(duration).count();
  };
  nlohmann::json json{{"sequence", record.sequence},
                      {"time", format_wall_time(record.at)},
                      {"path", record.path},
                      {"run", static_cast<std::uint64_t>(record.run)},
                      {"pid", record.pid},
                      {"uptime", seconds(record.uptime)},
                      {"was_ready", record.was_ready},
                      {"reason", record.reason},
                      {"summary", record.reason.describe()},
                      {"fingerprint", record.reason.fingerprint()},
                      {"last_lines", record.last_lines},
                      {"rule", record.rule},
                      {"decision", record.decision},
                      {"delay", seconds(record.delay)},
                      {"restarts", record.restarts},
                      {"also_stopped", record.also_stopped}};
  return json;
}

}  // namespace unirun
