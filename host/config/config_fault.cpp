#include "host/config/config_fault.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace unirun {
namespace {

// A text that is not UTF-8 may be the very fault; the report has to be.
nlohmann::json clean(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

std::string describe(const ConfigFault& fault) {
  if (fault.line == 0) {
    return fault.pointer.empty() ? fault.message
                                 : fmt::format("{}: {}", fault.pointer, fault.message);
  }
  if (fault.pointer.empty()) {
    return fmt::format("line {}, column {}: {}", fault.line, fault.column, fault.message);
  }
  return fmt::format("{} (line {}): {}", fault.pointer, fault.line, fault.message);
}

std::string describe(const std::vector<ConfigFault>& faults, std::string_view origin) {
  std::string report =
      fmt::format("{}: {} fault{}\n", origin, faults.size(), faults.size() == 1 ? "" : "s");
  for (const ConfigFault& fault : faults) report += "  " + describe(fault) + '\n';
  return report;
}

nlohmann::json to_json(const std::vector<ConfigFault>& faults) {
  nlohmann::json list = nlohmann::json::array();
  for (const ConfigFault& fault : faults) {
    nlohmann::json entry = {{"pointer", clean(fault.pointer)}, {"message", clean(fault.message)}};
    if (fault.line != 0) {
      entry["line"] = fault.line;
      entry["column"] = fault.column;
    }
    if (!fault.found.empty()) entry["found"] = clean(fault.found);
    if (!fault.expected.empty()) entry["expected"] = clean(fault.expected);
    if (!fault.nearest.empty()) entry["nearest"] = clean(fault.nearest);
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace unirun
