#include "executors/output/output_line.h"

namespace unirun {

std::string_view to_string(OutputStream stream) {
  switch (stream) {
    case OutputStream::standard_output: return "stdout";
    case OutputStream::standard_error: return "stderr";
    case OutputStream::log: return "log";
  }
  unreachable();
}

nlohmann::json to_json(const OutputLine& line) {
  nlohmann::json json{
      {"number", line.number},
      {"time", format_wall_time(line.at)},
      {"run", static_cast<std::uint64_t>(line.run)},
      {"stream", to_string(line.stream)},
      {"text", line.text},
  };
  if (line.continued) json["continued"] = true;
  // A json string may hold any bytes until it is dumped, which throws on what is not UTF-8. Dump
  // and read it once here, where the replacement is asked for.
  return nlohmann::json::parse(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace unirun
