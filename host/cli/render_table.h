// A table for a terminal: columns as wide as their cells, one of them giving way where the terminal
// is narrower, and no lines but the header's words.

#pragma once

#include <string>
#include <vector>

#include "host/cli/text_style.h"

namespace unirun {

struct TableColumn {
  std::string title;
  bool right = false;   // Numbers stand to the right.
  bool yields = false;  // May be cut where the table is too wide.
};

struct TableCell {
  std::string text;
  Colour colour = Colour::none;
};

using TableRow = std::vector<TableCell>;

// REQUIRES: every row has a cell for each column. Ends with a newline.
[[nodiscard]] std::string render_table(const std::vector<TableColumn>& columns,
                                       const std::vector<TableRow>& rows, const TextStyle& style);

}  // namespace unirun
