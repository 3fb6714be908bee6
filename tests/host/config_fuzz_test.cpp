// Thousands of broken copies of a right configuration: each is either a configuration after all, or
// has at least one fault with a sentence and a place. Nothing crashes. The seed that is printed
// tells a failing case again.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "framework/random.h"
#include "host/config/load_config.h"
#include "tests/host/config_fixture.h"

namespace unirun {
namespace {

std::string full_text() {
  std::ifstream stream(in_source_tree("configs/full.json"));
  return {std::istreambuf_iterator<char>(stream), {}};
}

LoadOptions fuzz_options() {
  LoadOptions options = full_options();
  options.directory = in_source_tree("configs");
  return options;
}

// Bytes that mean something to a JSON parser, and some that mean nothing to anyone.
char telling_byte(Random& random) {
  const std::string bytes = "{}[]\",:0123456789eE+-.truefalsn\\/* \n\t";
  if (random.chance(0.1)) return static_cast<char>(random.below(256));
  return bytes[random.below(bytes.size())];
}

void mutate_bytes(std::string& text, Random& random) {
  for (std::uint64_t count = 1 + random.below(3); count > 0 && !text.empty(); --count) {
    const std::size_t at = random.below(text.size());
    switch (random.below(5)) {
      case 0: text[at] = telling_byte(random); break;
      case 1: text.erase(at, 1 + random.below(20)); break;
      case 2: text.insert(at, 1, telling_byte(random)); break;
      case 3: text.resize(at); break;
      default: text.insert(at, text.substr(random.below(text.size()), random.below(40))); break;
    }
  }
}

// Keeps the text a JSON document, so that what comes after the parser is tried.
void mutate_words(std::string& text, Random& random) {
  const std::string words[] = {"null",
                               "-1",
                               "1e300",
                               "18446744073709551615",
                               "\"\"",
                               "{}",
                               "[]",
                               "true",
                               "\"0s\"",
                               "\"99999999999999999999s\"",
                               "\"a/b\"",
                               "[[[]]]",
                               "{\"id\": 1}",
                               "\"{id}\"",
                               "\"" + std::string(5000, '9') + "s\""};
  for (std::uint64_t count = 1 + random.below(3); count > 0; --count) {
    const std::size_t colon = text.find(": ", random.below(text.size()));
    if (colon == std::string::npos) continue;
    const std::size_t end = text.find_first_of(",\n}]", colon);
    text.replace(colon + 2, end - colon - 2, words[random.below(std::size(words))]);
  }
}

// A sanitizer makes each some twenty times as slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t documents = 300;
#else
constexpr std::uint64_t documents = 2'000;
#endif

void check_one(const std::string& text, std::uint64_t seed, const LoadOptions& options) {
  CAPTURE(seed);
  const LoadOutcome outcome = parse_config(text, "fuzz.json", options);
  REQUIRE(outcome.ok() == outcome.faults.empty());
  for (const ConfigFault& fault : outcome.faults) {
    REQUIRE_FALSE(fault.message.empty());
    REQUIRE_MESSAGE(fault.line > 0, describe(fault));
    REQUIRE(fault.line <= 1 + static_cast<unsigned>(std::count(text.begin(), text.end(), '\n')));
    REQUIRE((fault.pointer.empty() || fault.pointer[0] == '/'));
  }
  REQUIRE_NOTHROW(static_cast<void>(to_json(outcome.faults).dump()));
}

TEST_CASE("texts with broken bytes harm nobody") {
  const std::string original = full_text();
  const LoadOptions options = fuzz_options();
  REQUIRE(parse_config(original, "fuzz.json", options).ok());
  for (std::uint64_t seed = 1; seed <= documents; ++seed) {
    Random random(seed);
    std::string text = original;
    mutate_bytes(text, random);
    check_one(text, seed, options);
  }
}

TEST_CASE("documents with wrong values harm nobody") {
  const std::string original = full_text();
  const LoadOptions options = fuzz_options();
  int refused = 0;
  for (std::uint64_t seed = 1; seed <= documents; ++seed) {
    Random random(seed);
    std::string text = original;
    mutate_words(text, random);
    check_one(text, seed, options);
    refused += parse_config(text, "fuzz.json", options).ok() ? 0 : 1;
  }
  CHECK(refused > static_cast<int>(documents / 2));  // Else nothing was tried.
}

}  // namespace
}  // namespace unirun
