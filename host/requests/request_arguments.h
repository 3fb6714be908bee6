// RequestArguments are the arguments of one request. They come from Python as values and from a URL
// as texts; both are read here.
//
// Thread: any. Reads what the caller owns.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/result.h"
#include "supervisors/supervision_tree.h"

namespace unirun {

class RequestArguments {
 public:
  explicit RequestArguments(const nlohmann::json& values) : values_(values) {}

  [[nodiscard]] bool has(const char* name) const;
  // Empty where there is none, or something else.
  [[nodiscard]] std::string text(const char* name) const;
  [[nodiscard]] bool flag(const char* name) const;
  // Errors: no whole number from 0 to `most`.
  [[nodiscard]] Result<std::uint64_t> number(const char* name, std::uint64_t otherwise,
                                             std::uint64_t most) const;
  // A list of texts, or one text with commas.
  [[nodiscard]] std::vector<std::string> words(const char* name) const;
  // A child of a supervisor as the OTP calls name it: by "id", or by the "run" of which_children.
  [[nodiscard]] Result<ChildRef> child() const;

 private:
  const nlohmann::json& values_;
};

}  // namespace unirun
