// One value of a kind, if it is there and is of that kind; else what is to be read stays as it was,
// for its fault is known already. Texts with a unit may still be wrong: that is told.

#pragma once

#include <initializer_list>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "framework/time.h"
#include "host/config/internal/fault_list.h"
#include "host/config/internal/json_cursor.h"

namespace unirun {

inline void read_text(const JsonCursor& from, std::string& to) {
  if (const std::string* text = from.text()) to = *text;
}

inline void read_flag(const JsonCursor& from, bool& to) {
  if (from && from.value().is_boolean()) to = from.value().get<bool>();
}

template <class Number>
void read_number(const JsonCursor& from, Number& to) {
  if (!from || !from.value().is_number()) return;
  if (std::is_integral_v<Number> && !from.value().is_number_integer()) return;
  to = from.value().get<Number>();
}

// REQUIRES: to_string() of each word is the one that stands in JSON.
template <class Word>
void read_word(const JsonCursor& from, std::initializer_list<Word> words, Word& to) {
  const std::string* text = from.text();
  if (text == nullptr) return;
  for (const Word word : words) {
    if (to_string(word) == *text) to = word;
  }
}

void read_duration(const JsonCursor& from, Duration& to, FaultList& faults);
void read_size(const JsonCursor& from, std::uint64_t& to, FaultList& faults);

// "SIGTERM", "SIGRTMIN+3" or a number.
void read_signal(const JsonCursor& from, int& to, FaultList& faults);

// A name or a number, as for users.
void read_account(const JsonCursor& from, std::string& to);

[[nodiscard]] std::vector<std::string> texts_of(const JsonCursor& from);
[[nodiscard]] std::set<int> codes_of(const JsonCursor& from);

}  // namespace unirun
