// The schema's verdict on a document, as the validator gives it: which rule is broken where. What
// that means for a reader is said by schema_faults.h.

#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace unirun {

// The rules that the schema makes use of.
enum class SchemaRule { type, one_of_words, pattern, range, required, one_of, unknown_key, other };

struct SchemaViolation {
  std::vector<std::string> path;  // The keys and indexes that lead to the value.
  SchemaRule rule = SchemaRule::other;
  std::string text;  // The validator's own sentence.
};

// configs/unirun.schema.json, parsed. Thread: any.
[[nodiscard]] const nlohmann::json& schema();

// Checks a document against the whole schema, or against one of its definitions ("child").
[[nodiscard]] std::vector<SchemaViolation> schema_violations(const nlohmann::json& document,
                                                             const std::string& definition = {});

}  // namespace unirun
