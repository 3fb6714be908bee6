// TextStyle is what the receiver of text can show; paint() and fit() write for it. Everything that
// is drawn is a function of values and a style, so that a test sees what a terminal would.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace unirun {

struct TextStyle {
  bool colour = false;
  bool unicode = false;
  std::size_t width = 0;  // Columns; 0: as wide as need be.

  // Of a descriptor: colours only on a terminal, and not with NO_COLOR or TERM=dumb; characters
  // beyond ASCII if the locale is UTF-8.
  using Environment = std::function<std::optional<std::string>(const char*)>;
  [[nodiscard]] static TextStyle of(int descriptor, const Environment& environment);
  [[nodiscard]] static TextStyle of(int descriptor);
};

enum class Colour : std::uint8_t { none, red, green, yellow, blue, magenta, cyan, dim, bold };

[[nodiscard]] std::string paint(std::string_view text, Colour colour, const TextStyle& style);

// A colour for a name, always the same one.
[[nodiscard]] Colour colour_of(std::string_view name);

// Columns that the text takes: code points, the wide ones of East Asia twice.
[[nodiscard]] std::size_t columns_of(std::string_view text);

// The text in at most `columns`, its end cut off and marked where it is longer.
[[nodiscard]] std::string fit(std::string_view text, std::size_t columns, const TextStyle& style);

// Padded with spaces to `columns`.
[[nodiscard]] std::string pad(std::string text, std::size_t columns, bool to_the_left = false);

// One line without control characters: what a service says must not move the cursor.
[[nodiscard]] std::string one_line(std::string_view text);

}  // namespace unirun
