// The one file that sees valijson: header-only, and slow to compile.

#include "host/config/internal/schema_violations.h"

#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "host/config/load_config.h"

namespace unirun {
namespace {

using Adapter = valijson::adapters::NlohmannJsonAdapter;

// valijson names a broken rule by its sentence alone. Sentences that only say that something below
// is broken are left out: that something has its own.
std::optional<SchemaRule> rule_of(std::string_view sentence) {
  constexpr std::pair<std::string_view, SchemaRule> beginnings[] = {
      {"Value type not permitted", SchemaRule::type},
      {"Failed to match against any enum", SchemaRule::one_of_words},
      {"Failed to match expected value set by 'const'", SchemaRule::one_of_words},
      {"Failed to match regex", SchemaRule::pattern},
      {"Expected number", SchemaRule::range},
      {"Array should contain", SchemaRule::range},
      {"String should be no", SchemaRule::range},
      {"Missing required property", SchemaRule::required},
      {"Failed to validate against any child schemas allowed by oneOf", SchemaRule::one_of},
      {"Failed to validate against exactly one", SchemaRule::one_of},
      {"Object contains a property", SchemaRule::unknown_key},
  };
  for (const auto& [beginning, rule] : beginnings) {
    if (sentence.substr(0, beginning.size()) == beginning) return rule;
  }
  const bool only_says_below = sentence.substr(0, 18) == "Failed to validate";
  return only_says_below ? std::nullopt : std::optional(SchemaRule::other);
}

// "[supervisors]" as "supervisors"; the first one is "<root>".
std::vector<std::string> path_of(const std::vector<std::string>& context) {
  std::vector<std::string> path;
  for (std::size_t i = 1; i < context.size(); ++i) {
    path.push_back(context[i].substr(1, context[i].size() - 2));
  }
  return path;
}

// std::regex recurses once a character and would exhaust the stack on a long string. No shape
// depends on what comes after the first kilobyte, so the validator gets to see no more of it.
constexpr std::size_t longest_string = 1024;

bool has_long_string(const nlohmann::json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().size() > longest_string;
  if (!value.is_structured()) return false;
  for (const auto& element : value) {
    if (has_long_string(element)) return true;
  }
  return false;
}

void shorten_strings(nlohmann::json& value) {
  if (auto* text = value.get_ptr<std::string*>()) {
    if (text->size() > longest_string) text->resize(longest_string);
  } else if (value.is_structured()) {
    for (auto& element : value) shorten_strings(element);
  }
}

// A parsed schema is reused: a running host judges many a child.
const valijson::Schema& compiled(const std::string& definition) {
  static std::mutex mutex;
  static std::map<std::string, valijson::Schema> schemas;
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = schemas.try_emplace(definition);
  if (is_new) {
    nlohmann::json entry_point = schema();
    if (!definition.empty()) {
      entry_point = {{"$ref", "#/definitions/" + definition},
                     {"definitions", schema().at("definitions")}};
    }
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.populateSchema(Adapter(entry_point), entry->second);
  }
  return entry->second;
}

}  // namespace

const nlohmann::json& schema() {
  static const nlohmann::json parsed = nlohmann::json::parse(schema_text());
  return parsed;
}

std::vector<SchemaViolation> schema_violations(const nlohmann::json& document,
                                               const std::string& definition) {
  if (has_long_string(document)) {
    nlohmann::json shortened = document;
    shorten_strings(shortened);
    return schema_violations(shortened, definition);
  }
  valijson::Validator validator(valijson::Validator::kStrongTypes);
  valijson::ValidationResults results;
  std::vector<SchemaViolation> violations;
  const valijson::Schema& rules = compiled(definition);
  const Adapter target(document);
  // Without results it stops at the first fault and builds no paths: most documents are right.
  if (validator.validate(rules, target, nullptr)) return violations;
  validator.validate(rules, target, &results);
  for (const auto& error : results) {
    if (const auto rule = rule_of(error.description)) {
      violations.push_back({path_of(error.context), *rule, error.description});
    }
  }
  return violations;
}

}  // namespace unirun
