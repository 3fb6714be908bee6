#include "framework/result.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "framework/registration.h"
#include "framework/service_state.h"

namespace unirun {
namespace {

TEST_CASE("a result is a value or an error, and moves what it holds") {
  Result<std::unique_ptr<int>> good = std::make_unique<int>(3);
  REQUIRE(good.ok());
  CHECK(**good == 3);
  const std::unique_ptr<int> taken = *std::move(good);
  CHECK(*taken == 3);

  const Result<int> bad = Error{Errc::not_found, "no child \"x\""};
  CHECK_FALSE(bad);
  CHECK(bad.error() == Error{Errc::not_found, "no child \"x\""});
}

TEST_CASE("a status is good unless it holds an error") {
  CHECK(Status{}.ok());
  const Status bad = Error{Errc::timeout, "too late"};
  CHECK(bad.error().message == "too late");
}

TEST_CASE("an error of the system says what was tried and what came of it") {
  const Error error = Error::from_errno(EACCES, "open /var/log/x");
  CHECK(error.code == Errc::system);
  CHECK(error.message == "open /var/log/x: Permission denied");
}

TEST_CASE("every error code has a word of its own") {
  std::set<std::string_view> words;
  for (int i = 0; i <= static_cast<int>(Errc::unsupported); ++i) {
    words.insert(to_string(static_cast<Errc>(i)));
  }
  CHECK(words.size() == static_cast<std::size_t>(Errc::unsupported) + 1);
}

TEST_CASE("every service state has a word, and the word leads back") {
  for (int i = 0; i <= static_cast<int>(ServiceState::completed); ++i) {
    const auto state = static_cast<ServiceState>(i);
    CHECK(service_state_from(to_string(state)) == state);
  }
  CHECK_FALSE(service_state_from("Running"));
}

TEST_CASE("a registration cancels once, when it is reset, replaced or destroyed") {
  int cancelled = 0;
  const auto counting = [&] { return Registration([&] { ++cancelled; }); };
  Registration one = counting();
  Registration two = std::move(one);
  CHECK(cancelled == 0);
  two = counting();
  CHECK(cancelled == 1);
  two.reset();
  two.reset();
  CHECK(cancelled == 2);
  CHECK_FALSE(two);
  { const Registration scoped = counting(); }
  CHECK(cancelled == 3);
}

}  // namespace
}  // namespace unirun
