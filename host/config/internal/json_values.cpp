#include "host/config/internal/json_values.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>  // sigabbrev_np

#include <charconv>
#include <optional>

#include "framework/nearest.h"
#include "framework/size.h"
#include "host/config/internal/schema_faults.h"

namespace unirun {
namespace {

std::optional<int> signal_named(const std::string& name) {
  if (name.rfind("SIGRTMIN+", 0) == 0) {
    int offset = 0;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + 9, end, offset);
    const bool is_valid = read.ec == std::errc{} && read.ptr == end && offset >= 0;
    if (is_valid && SIGRTMIN + offset <= SIGRTMAX) return SIGRTMIN + offset;
    return std::nullopt;
  }
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* abbreviation = sigabbrev_np(number);
    if (abbreviation != nullptr && name == std::string("SIG") + abbreviation) return number;
  }
  return std::nullopt;
}

std::vector<std::string> signal_names() {
  std::vector<std::string> names;
  for (int number = 1; number < SIGRTMIN; ++number) {
    if (const char* name = sigabbrev_np(number)) names.push_back(std::string("SIG") + name);
  }
  return names;
}

}  // namespace

void read_duration(const JsonCursor& from, Duration& to, FaultList& faults) {
  const std::string* text = from.text();
  if (text == nullptr) return;
  if (const auto duration = parse_duration(*text)) {
    to = *duration;
  } else {
    faults.add(from.pointer(), duration.error().message);
  }
}

void read_size(const JsonCursor& from, std::uint64_t& to, FaultList& faults) {
  const std::string* text = from.text();
  if (text == nullptr) return;
  if (const auto size = parse_size(*text)) {
    to = *size;
  } else {
    faults.add(from.pointer(), size.error().message);
  }
}

void read_signal(const JsonCursor& from, int& to, FaultList& faults) {
  read_number(from, to);
  const std::string* name = from.text();
  if (name == nullptr) return;
  if (const auto number = signal_named(*name)) {
    to = *number;
  } else {
    faults.add(from.pointer(), fmt::format("there is no signal {}", describe_value(*name)),
               nearest(*name, signal_names()));
  }
}

void read_account(const JsonCursor& from, std::string& to) {
  if (from && from.value().is_number_integer()) to = from.value().dump();
  read_text(from, to);
}

std::vector<std::string> texts_of(const JsonCursor& from) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < from.size(); ++i) {
    texts.emplace_back();
    read_account(from.element(i), texts.back());
  }
  return texts;
}

std::set<int> codes_of(const JsonCursor& from) {
  std::set<int> codes;
  for (std::size_t i = 0; i < from.size(); ++i) {
    int code = -1;
    read_number(from.element(i), code);
    codes.insert(code);
  }
  return codes;
}

}  // namespace unirun
