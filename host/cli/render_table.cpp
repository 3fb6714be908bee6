#include "host/cli/render_table.h"

#include <algorithm>
#include <numeric>

#include "framework/require.h"

namespace unirun {
namespace {

constexpr std::size_t gap = 2;
constexpr std::size_t least_width = 8;  // Of a column that yields.

std::vector<std::size_t> widths_of(const std::vector<TableColumn>& columns,
                                   const std::vector<TableRow>& rows, const TextStyle& style) {
  std::vector<std::size_t> widths;
  for (const TableColumn& column : columns) widths.push_back(columns_of(column.title));
  for (const TableRow& row : rows) {
    UNIRUN_REQUIRE(row.size() == columns.size());
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(row[i].text));
    }
  }
  if (style.width == 0) return widths;
  const std::size_t total =
      std::accumulate(widths.begin(), widths.end(), std::size_t{0}) + gap * (columns.size() - 1);
  std::size_t excess = total > style.width ? total - style.width : 0;
  for (std::size_t i = columns.size(); i-- > 0 && excess > 0;) {  // The last yields first.
    if (!columns[i].yields || widths[i] <= least_width) continue;
    const std::size_t cut = std::min(excess, widths[i] - least_width);
    widths[i] -= cut;
    excess -= cut;
  }
  return widths;
}

std::string render_row(const std::vector<TableColumn>& columns, const TableRow& row,
                       const std::vector<std::size_t>& widths, const TextStyle& style) {
  std::string line;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const bool is_last = i + 1 == row.size();
    const std::string text = fit(row[i].text, widths[i], style);
    // Padding stays unpainted: a background or an underline would show.
    const std::size_t missing = widths[i] - std::min(widths[i], columns_of(text));
    const std::string spaces(missing, ' ');
    const std::string painted = paint(text, row[i].colour, style);
    if (columns[i].right) {
      line += spaces + painted;
    } else {
      line += is_last ? painted : painted + spaces;
    }
    if (!is_last) line += std::string(gap, ' ');
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line + '\n';
}

}  // namespace

std::string render_table(const std::vector<TableColumn>& columns, const std::vector<TableRow>& rows,
                         const TextStyle& style) {
  const std::vector<std::size_t> widths = widths_of(columns, rows, style);
  TableRow header;
  for (const TableColumn& column : columns) header.push_back({column.title, Colour::bold});
  std::string table = render_row(columns, header, widths, style);
  for (const TableRow& row : rows) table += render_row(columns, row, widths, style);
  return table;
}

}  // namespace unirun
