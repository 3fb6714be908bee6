// Every key of the schema, given every wrong kind of value, is refused at its own pointer. The keys
// come from the schema and from configs/full.json, which shows each of them, so that a new key is
// tested as soon as it exists.

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "host/config/internal/json_text.h"
#include "host/config/load_config.h"
#include "tests/host/config_fixture.h"

namespace unirun {
namespace {

using nlohmann::json;

std::string full_text() {
  std::ifstream stream(in_source_tree("configs/full.json"));
  return {std::istreambuf_iterator<char>(stream), {}};
}

json full_document() { return parse_text(full_text()).document; }

// "/supervisors/0/children/1/id" of every value, but for what is inside the free-form ones.
void collect(const json& value, const std::string& pointer, std::vector<std::string>& pointers) {
  pointers.push_back(pointer);
  const std::string key = pointer.substr(pointer.rfind('/') + 1);
  if (key == "config" || key == "arguments" || key == "env") return;
  if (value.is_object()) {
    for (const auto& [name, member] : value.items()) {
      collect(member, pointer + '/' + name, pointers);
    }
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      collect(value[i], pointer + '/' + std::to_string(i), pointers);
    }
  }
}

LoadOptions shape_only() {
  LoadOptions options = full_options();
  options.check_targets = false;
  options.directory = in_source_tree("configs");
  return options;
}

const json& schema_of_binary() {
  static const json schema = json::parse(schema_text());
  return schema;
}

TEST_CASE("a value of the wrong type is refused at its own pointer, whatever the key") {
  const json document = full_document();
  REQUIRE(document.is_object());
  REQUIRE(config_from_json(document, shape_only()).ok());
  std::vector<std::string> pointers;
  collect(document, "", pointers);
  REQUIRE(pointers.size() > 150);
  const json wrong_values[] = {nullptr, -7, 1.5, true, "\x01", json::array({nullptr}), {{"", 1}}};
  int refused = 0;
  for (const std::string& pointer : pointers) {
    for (const json& wrong : wrong_values) {
      json changed = document;
      json& value = changed[json::json_pointer(pointer)];
      if (value.type() == wrong.type() && !value.is_string()) continue;
      // Where an integer is a legal number, or a number a legal limit.
      value = wrong;
      const LoadOutcome outcome = config_from_json(changed, shape_only());
      if (outcome.ok()) {
        // A whole number is a number, and some strings are free text.
        const std::string key = pointer.substr(pointer.rfind('/') + 1);
        const bool is_free = wrong.is_string() || (wrong.is_number() && key == "nice") ||
                             (wrong.is_object() && key == "arguments");
        CHECK_MESSAGE(is_free, pointer, " accepts ", wrong.dump());
        continue;
      }
      ++refused;
      const bool is_placed =
          std::any_of(outcome.faults.begin(), outcome.faults.end(), [&](const ConfigFault& fault) {
            return fault.pointer.compare(0, pointer.size(), pointer) == 0 ||
                   pointer.compare(0, fault.pointer.size(), fault.pointer) == 0;
          });
      CHECK_MESSAGE(is_placed, pointer, " = ", wrong.dump(), ": ",
                    describe(outcome.faults, "full.json"));
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("configs/full.json shows every key that the schema knows") {
  const std::string shown = full_text();  // With its comments: not every key can be in use.
  std::set<std::string> keys;
  const std::function<void(const json&)> visit = [&](const json& node) {
    if (!node.is_structured()) return;
    if (node.is_object() && node.contains("properties")) {
      for (const auto& [key, rule] : node.at("properties").items()) keys.insert(key);
    }
    for (const json& below : node) visit(below);
  };
  visit(schema_of_binary());
  // One limit stands for all: they are getrlimit's.
  const json& limits = schema_of_binary().at("definitions").at("rlimits").at("properties");
  for (const auto& [name, rule] : limits.items()) keys.erase(name);
  REQUIRE(keys.size() > 60);
  for (const std::string& key : keys) {
    CHECK_MESSAGE(shown.find('"' + key + "\":") != std::string::npos, key);
  }
}

TEST_CASE("every default in the schema is the default of the specs") {
  const LoadOutcome plain = config_from_json(
      {{"supervisors", {{{"id", "s"}, {"children", {{{"id", "w"}, {"command", {"true"}}}}}}}}},
      shape_only());
  REQUIRE(plain.ok());
  const json written = to_json(*plain.config).at("supervisors").at(0);
  const json& definitions = schema_of_binary().at("definitions");
  const auto compare = [&](const json& rules, const json& values) {
    int compared = 0;
    for (const auto& [name, rule] : rules.items()) {
      const std::string& key =
          name;  // clang 14 lets no lambda, as CHECK_MESSAGE is, have a binding.
      json expected = rule.contains("default") ? rule.at("default") : json();
      if (expected.is_null() && rule.contains("$ref")) {
        const std::string pointer = rule.at("$ref").get<std::string>().substr(13);
        const json& target = schema_of_binary().at("definitions").at(pointer.substr(1));
        if (target.contains("default")) expected = target.at("default");
      }
      if (expected.is_null() || !values.contains(key)) continue;
      // "60s" and "1m" are the same; the specs write the shortest.
      json found = values.at(key);
      if (expected.is_string()) {
        const auto meant = parse_duration(expected.get<std::string>());
        const auto told = parse_duration(found.get<std::string>());
        if (meant.ok() && told.ok()) {
          CHECK_MESSAGE(*meant == *told, key);
          ++compared;
          continue;
        }
      }
      CHECK_MESSAGE(found == expected, key, ": ", found.dump(), " is not ", expected.dump());
      ++compared;
    }
    return compared;
  };
  CHECK(compare(definitions.at("supervisor").at("properties"), written) >= 6);
  const json& worker = written.at("children").at(0);
  CHECK(compare(definitions.at("worker").at("properties"), worker) >= 7);
  CHECK(compare(definitions.at("backoff").at("properties"), worker.at("backoff")) == 6);
  CHECK(compare(definitions.at("output").at("properties"), worker.at("output")) == 4);
  CHECK(compare(definitions.at("restart_intensity").at("properties"),
                written.at("restart_intensity")) == 2);
}

}  // namespace
}  // namespace unirun
