#include "host/cli/render_event.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace unirun {
namespace {

constexpr std::size_t widest_path = 32;

std::string time_of_day(WallTime wall) {
  const auto since_epoch = wall.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const std::time_t time = seconds.count();
  std::tm local{};
  localtime_r(&time, &local);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch - seconds).count();
  return fmt::format("{:02}:{:02}:{:02}.{:03}", local.tm_hour, local.tm_min, local.tm_sec, millis);
}

Colour colour_of(const Event& event) {
  switch (severity_of(event)) {
    case Severity::error: return Colour::red;
    case Severity::warning: return Colour::yellow;
    case Severity::debug: return Colour::dim;
    case Severity::info: break;
  }
  const EventKind kind = event.kind();
  return kind == EventKind::service_started || kind == EventKind::supervisor_recovered
             ? Colour::green
             : Colour::none;
}

}  // namespace

std::string EventRenderer::render(const Event& event) {
  const std::string path = event.path.empty() ? "-" : event.path;
  path_columns_ = std::max(path_columns_, std::min(columns_of(path), widest_path));
  std::string text = one_line(describe(event));
  constexpr std::size_t time_columns = 12, gaps = 4;
  const std::size_t before = time_columns + gaps + std::max(path_columns_, columns_of(path));
  constexpr std::size_t least_text = 20;  // Below that, wrapping is better than cutting.
  if (style_.width > before + least_text) text = fit(text, style_.width - before, style_);
  const std::string padding(path_columns_ - std::min(path_columns_, columns_of(path)), ' ');
  return fmt::format("{}  {}{}  {}\n", paint(time_of_day(event.wall), Colour::dim, style_),
                     paint(path, event.path.empty() ? Colour::dim : colour_of(event.path), style_),
                     padding, paint(text, colour_of(event), style_));
}

}  // namespace unirun
