#include "host/config/internal/schema_faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <utility>

#include "framework/nearest.h"
#include "host/config/internal/json_cursor.h"
#include "host/config/internal/schema_violations.h"

namespace unirun {
namespace {

using nlohmann::json;
using Nodes = std::vector<const json*>;

const json* find(const json& object, const char* key) {
  const auto member = object.find(key);
  return member == object.end() ? nullptr : &*member;
}

// ---- Which parts of the schema speak about a value ----

// The conditions that the schema uses: a type, members that must be there, words they must have.
bool holds(const json& condition, const json& value) {
  if (const json* type = find(condition, "type")) {
    if (*type == "object" && !value.is_object()) return false;
  }
  if (const json* required = find(condition, "required")) {
    for (const auto& key : *required) {
      if (!value.is_object() || !value.contains(key.get_ref<const std::string&>())) return false;
    }
  }
  if (const json* properties = find(condition, "properties")) {
    for (const auto& [key, rule] : properties->items()) {
      if (!value.is_object() || !value.contains(key)) continue;
      const json* constant = find(rule, "const");
      const json* words = find(rule, "enum");
      const json& member = value.at(key);
      if (constant != nullptr && *constant != member) return false;
      if (words != nullptr && std::find(words->begin(), words->end(), member) == words->end()) {
        return false;
      }
    }
  }
  return true;
}

// A node with all it refers to and all of its branches that the value has chosen; a reference comes
// first, because a title beside it is the more telling one.
void add_with_branches(const json& node, const json& value, Nodes& nodes) {
  nodes.push_back(&node);
  if (const json* reference = find(node, "$ref")) {
    const std::string pointer = reference->get_ref<const std::string&>().substr(1);
    add_with_branches(schema().at(json::json_pointer(pointer)), value, nodes);
    return;
  }
  if (const json* all = find(node, "allOf")) {
    for (const auto& part : *all) add_with_branches(part, value, nodes);
  }
  if (const json* condition = find(node, "if")) {
    const json* branch = find(node, holds(*condition, value) ? "then" : "else");
    if (branch != nullptr) add_with_branches(*branch, value, nodes);
  }
}

Nodes nodes_of_member(const Nodes& parents, const std::string& key, const json& value) {
  Nodes nodes;
  for (const json* parent : parents) {
    const json* properties = find(*parent, "properties");
    const json* rule = properties != nullptr ? find(*properties, key.c_str()) : nullptr;
    if (rule == nullptr) rule = find(*parent, "additionalProperties");
    if (rule != nullptr && rule->is_object()) add_with_branches(*rule, value, nodes);
  }
  return nodes;
}

Nodes nodes_of_elements(const Nodes& parents, const json& value) {
  Nodes nodes;
  for (const json* parent : parents) {
    if (const json* items = find(*parent, "items")) add_with_branches(*items, value, nodes);
  }
  return nodes;
}

// A value, where it stands, and what the schema says about it.
struct Spot {
  const json* value = nullptr;
  std::string pointer;
  Nodes nodes;
};

Spot spot_at(const json& document, const json& entry, const std::vector<std::string>& path) {
  Spot spot{&document, "", {}};
  add_with_branches(entry, document, spot.nodes);
  for (const std::string& step : path) {
    const json& parent = *spot.value;
    spot.pointer = deeper(spot.pointer, step);
    if (parent.is_array()) {
      spot.value = &parent.at(std::stoul(step));
      spot.nodes = nodes_of_elements(spot.nodes, *spot.value);
    } else {
      spot.value = &parent.at(step);
      spot.nodes = nodes_of_member(spot.nodes, step, *spot.value);
    }
  }
  return spot;
}

std::string title_of(const Nodes& nodes) {
  for (const json* node : nodes) {
    if (const json* title = find(*node, "title")) return title->get<std::string>();
  }
  return {};
}

const json* rule_of(const Nodes& nodes, const char* rule) {
  for (const json* node : nodes) {
    if (const json* found = find(*node, rule)) return found;
  }
  return nullptr;
}

std::vector<std::string> words_of(const json& list) {
  std::vector<std::string> words;
  for (const auto& word : list) words.push_back(word.get<std::string>());
  return words;
}

// ---- What to say ----

ConfigFault fault_at(const Spot& spot) {
  ConfigFault fault;
  fault.pointer = spot.pointer;
  fault.found = describe_value(*spot.value);
  return fault;
}

// 10 or "10" where "10s" is meant: the first example of the schema tells the usual unit.
std::string with_unit(const json& value, const Nodes& nodes) {
  const json* pattern = rule_of(nodes, "pattern");
  const json* examples = rule_of(nodes, "examples");
  const std::string number = value.is_string() ? value.get<std::string>() : value.dump();
  constexpr std::size_t longest_number = 20;
  if (pattern == nullptr || examples == nullptr || number.size() > longest_number ||
      number.find_first_not_of("0123456789.") != std::string::npos) {
    return {};
  }
  for (const std::string& example : words_of(*examples)) {
    const std::size_t unit = example.find_first_not_of("0123456789.");
    if (unit == 0 || unit == std::string::npos) continue;
    const std::string guess = number + example.substr(unit);
    if (std::regex_search(guess, std::regex(pattern->get<std::string>()))) return guess;
  }
  return {};
}

ConfigFault wrong_value(const Spot& spot, std::string expected) {
  ConfigFault fault = fault_at(spot);
  fault.expected = std::move(expected);
  fault.nearest = with_unit(*spot.value, spot.nodes);
  fault.message = fmt::format("found {}; expected {}", fault.found, fault.expected);
  if (!fault.nearest.empty()) fault.message += fmt::format("; write \"{}\"", fault.nearest);
  return fault;
}

ConfigFault wrong_word(const Spot& spot) {
  const std::vector<std::string> words = words_of(*rule_of(spot.nodes, "enum"));
  ConfigFault fault = fault_at(spot);
  fault.expected = "one of " + join_words(words, nullptr);
  fault.message = fmt::format("found {}; expected {}", fault.found, fault.expected);
  if (spot.value->is_string()) fault.nearest = nearest(spot.value->get<std::string>(), words);
  if (!fault.nearest.empty()) fault.message += fmt::format("; did you mean \"{}\"?", fault.nearest);
  return fault;
}

ConfigFault missing_key(const Spot& spot, const std::string& key) {
  ConfigFault fault;
  fault.pointer = spot.pointer;
  fault.expected = title_of(nodes_of_member(spot.nodes, key, json()));
  fault.message = fmt::format("missing \"{}\"", key);
  if (!fault.expected.empty()) fault.message += ": " + fault.expected;
  return fault;
}

// One fault for each key that no closed part of the schema knows.
std::vector<ConfigFault> unknown_keys(const Spot& spot) {
  std::vector<ConfigFault> faults;
  for (const json* node : spot.nodes) {
    const json* additional = find(*node, "additionalProperties");
    if (additional == nullptr || *additional != false) continue;
    std::vector<std::string> known;
    for (const auto& [key, rule] : find(*node, "properties")->items()) known.push_back(key);
    for (const auto& [key, value] : spot.value->items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      ConfigFault fault;
      fault.pointer = deeper(spot.pointer, key);
      fault.found = describe_value(key);
      fault.nearest = nearest(key, known);
      fault.expected = "one of " + join_words(known, nullptr);
      fault.message = "unknown key " + fault.found;
      fault.message += fault.nearest.empty() ? "; known are " + join_words(known, nullptr)
                                             : fmt::format("; did you mean \"{}\"?", fault.nearest);
      faults.push_back(std::move(fault));
    }
  }
  return faults;
}

// oneOf stands in the schema only for "exactly one of these keys".
std::vector<std::string> alternatives_of(const Nodes& nodes) {
  std::vector<std::string> keys;
  if (const json* branches = rule_of(nodes, "oneOf")) {
    for (const auto& branch : *branches) keys.push_back(branch.at("required").at(0));
  }
  return keys;
}

ConfigFault wrong_choice(const Spot& spot) {
  const std::vector<std::string> keys = alternatives_of(spot.nodes);
  std::vector<std::string> present;
  for (const std::string& key : keys) {
    if (spot.value->contains(key)) present.push_back(key);
  }
  ConfigFault fault;
  fault.pointer = spot.pointer;
  fault.expected = "exactly one of " + join_words(keys, nullptr);
  if (!present.empty()) fault.found = join_words(present, "and");
  fault.message = present.empty()
                      ? "missing " + join_words(keys)
                      : fmt::format("found {}; expected {}", fault.found, fault.expected);
  return fault;
}

// The violations of one value, which are read together: the wrong type makes all else noise, and
// a key that was only misspelt is not missing as well.
struct Broken {
  std::vector<std::string> path;
  std::set<SchemaRule> rules;
  std::set<std::string> missing;
  std::string text;
};

std::string quoted_in(const std::string& sentence) {
  const std::size_t from = sentence.find('\'');
  const std::size_t to = sentence.rfind('\'');
  return from == to ? std::string() : sentence.substr(from + 1, to - from - 1);
}

std::vector<Broken> grouped(const std::vector<SchemaViolation>& violations) {
  std::map<std::vector<std::string>, Broken> groups;
  for (const SchemaViolation& violation : violations) {
    Broken& broken = groups[violation.path];
    broken.path = violation.path;
    broken.rules.insert(violation.rule);
    if (violation.rule == SchemaRule::required) broken.missing.insert(quoted_in(violation.text));
    broken.text = violation.text;
  }
  std::vector<Broken> list;
  for (auto& [path, broken] : groups) list.push_back(std::move(broken));
  return list;
}

void explain_object(const Spot& spot, Broken broken, std::vector<ConfigFault>& faults) {
  std::set<std::string> meant;
  if (broken.rules.count(SchemaRule::unknown_key) != 0) {
    for (ConfigFault& fault : unknown_keys(spot)) {
      meant.insert(fault.nearest);
      faults.push_back(std::move(fault));
    }
  }
  const std::vector<std::string> alternatives = alternatives_of(spot.nodes);
  const auto is_meant = [&](const std::string& key) { return meant.count(key) != 0; };
  if (broken.rules.count(SchemaRule::one_of) != 0) {
    // Its branches have each complained of a missing key.
    for (const std::string& key : alternatives) broken.missing.erase(key);
    if (std::none_of(alternatives.begin(), alternatives.end(), is_meant)) {
      faults.push_back(wrong_choice(spot));
    }
  }
  for (const std::string& key : broken.missing) {
    if (!is_meant(key)) faults.push_back(missing_key(spot, key));
  }
}

void explain(const Spot& spot, const Broken& broken, std::vector<ConfigFault>& faults) {
  const auto is_broken = [&](SchemaRule rule) { return broken.rules.count(rule) != 0; };
  if (is_broken(SchemaRule::type)) {
    faults.push_back(wrong_value(spot, title_of(spot.nodes)));
  } else if (is_broken(SchemaRule::one_of_words)) {
    faults.push_back(wrong_word(spot));
  } else if (is_broken(SchemaRule::pattern) || is_broken(SchemaRule::range)) {
    faults.push_back(wrong_value(spot, title_of(spot.nodes)));
  } else if (spot.value->is_object()) {
    explain_object(spot, broken, faults);
  } else {
    faults.push_back(wrong_value(spot, broken.text));
  }
}

}  // namespace

std::string describe_value(const json& value) {
  constexpr std::size_t longest = 60;
  if (value.is_object()) return value.empty() ? "{}" : "an object";
  if (value.is_array()) return value.empty() ? "[]" : "an array";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() <= longest) return text;
  std::size_t end = longest - 4;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;  // Never within a character.
  text.resize(end);
  text += value.is_string() ? "...\"" : "...";
  return text;
}

std::string join_words(const std::vector<std::string>& words, const char* last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool is_last = i + 1 == words.size();
    if (i > 0) text += is_last && last != nullptr ? fmt::format(" {} ", last) : ", ";
    text += fmt::format("\"{}\"", words[i]);
  }
  return text;
}

std::vector<ConfigFault> schema_faults(const json& document, const std::string& definition) {
  std::vector<ConfigFault> faults;
  const json& entry = definition.empty() ? schema() : schema().at("definitions").at(definition);
  for (const Broken& broken : grouped(schema_violations(document, definition))) {
    explain(spot_at(document, entry, broken.path), broken, faults);
  }
  return faults;
}

}  // namespace unirun
