// LinePattern is an ECMAScript regular expression that is sought in lines of output, for readiness
// by log.
//
// Thread: any.

#pragma once

#include <fmt/format.h>

#include <regex>
#include <string>
#include <string_view>
#include <utility>

#include "framework/result.h"

namespace unirun {

class LinePattern {
 public:
  // Errors: Errc::start_failed, with what is wrong with it.
  [[nodiscard]] static Result<LinePattern> compile(const std::string& pattern) {
    try {
      return LinePattern(std::regex(pattern));
    } catch (const std::regex_error& error) {
      return Error{Errc::start_failed,
                   fmt::format("readiness by log: '{}' is no pattern: {}", pattern, error.what())};
    }
  }

  // In the beginning of the line: std::regex recurses, and a long line would take the stack.
  [[nodiscard]] bool is_in(std::string_view line) const {
    constexpr std::size_t searched = 4096;
    line = line.substr(0, searched);
    try {
      return std::regex_search(line.begin(), line.end(), regex_);
    } catch (const std::regex_error&) {
      return false;  // Too complex for this line.
    }
  }

 private:
  explicit LinePattern(std::regex regex) : regex_(std::move(regex)) {}

  std::regex regex_;
};

}  // namespace unirun
