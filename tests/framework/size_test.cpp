#include "framework/size.h"

#include <doctest/doctest.h>

#include "framework/random.h"

namespace unirun {
namespace {

TEST_CASE("a size is a number and a unit, binary or decimal") {
  CHECK(parse_size("512MiB").value() == 512u << 20);
  CHECK(parse_size("1.5GiB").value() == 3u << 29);
  CHECK(parse_size("64KiB").value() == 65'536);
  CHECK(parse_size("64kB").value() == 64'000);
  CHECK(parse_size("10MB").value() == 10'000'000);
  CHECK(parse_size("2TiB").value() == std::uint64_t{2} << 40);
  CHECK(parse_size("0B").value() == 0);
}

TEST_CASE("what is no size is refused, and the error says how to write one") {
  for (const char* text : {"", "512", "-1B", "1.5B", "1M", "1mib", "1 MiB", "8388608TiB"}) {
    CAPTURE(text);
    const Result<std::uint64_t> size = parse_size(text);
    REQUIRE_FALSE(size);
    CHECK(size.error().message.find("\"512MiB\"") != std::string::npos);
  }
}

TEST_CASE("a formatted size reads back the same") {
  CHECK(format_size(512u << 20) == "512MiB");
  CHECK(format_size(1536u << 10) == "1536KiB");
  CHECK(format_size(0) == "0B");
  CHECK(format_size(1000) == "1000B");

  const std::uint64_t seed = Random::system_seed();
  CAPTURE(seed);
  Random random(seed);
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t size = random.next() >> (1 + random.below(62)) << random.below(2);
    CAPTURE(size);
    CHECK(parse_size(format_size(size >> 1)).value() == size >> 1);
  }
}

}  // namespace
}  // namespace unirun
