#include "executors/python/config_check.h"

#include <fmt/format.h>

#include <cstddef>

namespace unirun::python {
namespace {

// With less a recursion of Python's runs over the end of the stack before it comes to Python's own
// limit: with sorted(), json, repr() and __call__ 3.11 needed 2 MiB, 3.12 4 MiB and 3.13 up to 5.
constexpr std::size_t least_stack = std::size_t{6} << 20;

// Python adds it to the time of day without a look, and ends the process where that is too far off.
constexpr std::chrono::microseconds longest_interval = std::chrono::hours(1);

Error wrong(std::string message) {
  return {.code = Errc::unsupported, .message = std::move(message)};
}

Result<void> check_all(std::string_view name, const std::vector<std::string>& texts, Errc code) {
  for (std::size_t at = 0; at < texts.size(); ++at) {
    auto whole = check_no_nul(fmt::format("Config::{}[{}]", name, at), texts[at], code);
    if (!whole.ok()) return whole;
  }
  return {};
}

}  // namespace

Result<void> check_no_nul(std::string_view where, std::string_view text, Errc code) {
  const std::size_t at = text.find('\0');
  if (at == std::string_view::npos) return {};
  return Error{.code = code,
               .message = fmt::format("{}: {} has a NUL in it, at {}, and would end there: it has "
                                      "to be without",
                                      where, to_string(Value(text)), at)};
}

Result<void> check_config(const PythonExecutor::Config& config) {
  if (config.stack_bytes < least_stack) {
    return wrong(
        fmt::format("Config::stack_bytes: {}, which Python code could run over: it has to "
                    "be {} (6 MiB) at least",
                    config.stack_bytes, least_stack));
  }
  if (config.switch_interval.count() < 1 || config.switch_interval > longest_interval) {
    return wrong(fmt::format(
        "Config::switch_interval: {} us: it has to be from 1 us to an hour (5000 us unless said)",
        config.switch_interval.count()));
  }
  auto whole = check_all("sys_path", config.sys_path, Errc::unsupported);
  if (whole.ok()) whole = check_all("preload", config.preload, Errc::import_failed);
  if (whole.ok()) whole = check_no_nul("Config::worker_program", config.worker_program);
  return whole;
}

}  // namespace unirun::python
