// Events as lines of a log: time, path, what happened.

#pragma once

#include <string>

#include "framework/event.h"
#include "host/cli/text_style.h"

namespace unirun {

// Keeps the paths of one log aligned, as far as they have been seen.
class EventRenderer {
 public:
  explicit EventRenderer(TextStyle style) : style_(style) {}

  // One line, with its newline; the time of day is local.
  [[nodiscard]] std::string render(const Event& event);

 private:
  TextStyle style_;
  std::size_t path_columns_ = 8;
};

}  // namespace unirun
