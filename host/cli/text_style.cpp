#include "host/cli/text_style.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace unirun {
namespace {

bool is_utf8(std::string_view locale) {
  return locale.find("UTF-8") != std::string_view::npos ||
         locale.find("utf8") != std::string_view::npos;
}

// The code point at `at`, which goes on behind it. What is no UTF-8 counts as one a byte.
char32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  const std::size_t size = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t code = size == 1 ? first : first & (0x7Fu >> size);
  if (at + size > text.size()) {
    ++at;
    return first;
  }
  for (std::size_t i = 1; i < size; ++i) code = (code << 6) | (byte(at + i) & 0x3Fu);
  at += size;
  return code;
}

std::size_t columns_of(char32_t code) {
  const bool is_combining = code >= 0x300 && code < 0x370;
  const bool is_wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2E80 && code < 0xA4D0) ||
                       (code >= 0xAC00 && code < 0xD7A4) || (code >= 0xF900 && code < 0xFB00) ||
                       (code >= 0xFE30 && code < 0xFE70) || (code >= 0xFF00 && code < 0xFF61) ||
                       (code >= 0x1F300 && code < 0x1FB00);
  return is_combining ? 0 : is_wide ? 2 : 1;
}

}  // namespace

TextStyle TextStyle::of(int descriptor) {
  return of(descriptor, [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  });
}

TextStyle TextStyle::of(int descriptor, const Environment& environment) {
  TextStyle style;
  const bool is_terminal = isatty(descriptor) == 1;
  style.colour = is_terminal && environment("NO_COLOR").value_or("").empty() &&
                 environment("TERM").value_or("dumb") != "dumb";
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto locale = environment(name);
    if (!locale || locale->empty()) continue;
    style.unicode = is_utf8(*locale);
    break;
  }
  winsize size{};
  if (is_terminal && ioctl(descriptor, TIOCGWINSZ, &size) == 0) style.width = size.ws_col;
  return style;
}

std::string paint(std::string_view text, Colour colour, const TextStyle& style) {
  if (!style.colour || colour == Colour::none || text.empty()) return std::string(text);
  constexpr std::array<int, 9> codes{0, 31, 32, 33, 34, 35, 36, 2, 1};
  return fmt::format("\x1b[{}m{}\x1b[0m", codes.at(static_cast<std::size_t>(colour)), text);
}

Colour colour_of(std::string_view name) {
  constexpr std::array choices{Colour::cyan, Colour::magenta, Colour::blue, Colour::green};
  std::uint32_t hash = 2166136261u;  // FNV-1a: the same on every machine, unlike std::hash.
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return choices.at(hash % choices.size());
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) columns += columns_of(next_code_point(text, at));
  return columns;
}

std::string fit(std::string_view text, std::size_t columns, const TextStyle& style) {
  if (columns_of(text) <= columns) return std::string(text);
  const std::string_view mark = style.unicode ? "…" : "~";
  if (columns == 0) return {};
  std::size_t used = 0;
  std::size_t end = 0;
  for (std::size_t at = 0; at < text.size();) {
    used += columns_of(next_code_point(text, at));
    if (used > columns - 1) break;
    end = at;
  }
  return std::string(text.substr(0, end)) + std::string(mark);
}

std::string pad(std::string text, std::size_t columns, bool to_the_left) {
  const std::size_t used = columns_of(text);
  if (used >= columns) return text;
  const std::string spaces(columns - used, ' ');
  return to_the_left ? spaces + text : text + spaces;
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    line += byte < 0x20 || byte == 0x7F ? ' ' : c;
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

}  // namespace unirun
