#include "executors/process/environment.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace unirun {
namespace {

std::vector<std::string> entries(const Environment& environment) {
  std::vector<std::string> entries;
  for (const char* entry : environment.pointers()) {
    if (entry != nullptr) entries.emplace_back(entry);
  }
  return entries;
}

Environment shared() {
  Environment environment;
  for (const char* name : {"B", "D", "F"}) environment.set(name, "shared");
  environment.share();
  return environment;
}

TEST_CASE("a copy of a shared environment stands before what it shares, name by name") {
  const Environment base = shared();
  Environment copy = base;
  for (const char* name : {"A", "D", "G"}) copy.set(name, "own");
  copy.set("G", "");
  CHECK(entries(copy) == std::vector<std::string>{"A=own", "B=shared", "D=own", "F=shared", "G="});
  CHECK(copy.get("D") == "own");
  CHECK(copy.get("F") == "shared");
  CHECK(copy.is_set("G"));
  CHECK_FALSE(copy.is_set("C"));
  CHECK(entries(base) == std::vector<std::string>{"B=shared", "D=shared", "F=shared"});
}

TEST_CASE("what is erased from a copy stays in what it shared, and comes back nowhere") {
  const Environment base = shared();
  Environment copy = base;
  copy.set("D", "own");
  copy.erase("D");
  copy.erase("no such name");
  CHECK(entries(copy) == std::vector<std::string>{"B=shared", "F=shared"});
  CHECK(base.get("D") == "shared");

  Environment few = base;
  few.set("A", "own");
  few.keep_only({"A", "F"});
  CHECK(entries(few) == std::vector<std::string>{"A=own", "F=shared"});
  CHECK(base.is_set("B"));
}

TEST_CASE("an environment may be shared again with what was set since") {
  Environment environment = shared();
  environment.set("C", "own");
  environment.share();
  CHECK(entries(environment) ==
        std::vector<std::string>{"B=shared", "C=own", "D=shared", "F=shared"});
  CHECK(entries(Environment()).empty());
}

}  // namespace
}  // namespace unirun
