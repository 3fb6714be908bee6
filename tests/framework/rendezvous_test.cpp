#include "framework/rendezvous.h"

#include <doctest/doctest.h>

#include <array>

namespace unirun {
namespace {

constexpr std::array both = {Side::caller, Side::worker};

Side other(Side side) { return side == Side::caller ? Side::worker : Side::caller; }

// Whether that side looks at all, from CPU 0, for what does or does not come.
bool looks(Rendezvous& rendezvous, Side side, bool comes) {
  bool looked = false;
  const auto is_there = [&] { return looked = true, comes; };
  const bool came = rendezvous.look(side, is_there, 0);
  CHECK(came == (looked && comes));
  return looked;
}

}  // namespace

TEST_CASE("rendezvous: nobody looks for whom nobody has seen, or who was seen on the same CPU") {
  for (const Side side : both) {
    Rendezvous rendezvous{};
    CHECK(!looks(rendezvous, side, true));
    rendezvous.appear(other(side), 0);
    CHECK(!looks(rendezvous, side, true));
    rendezvous.appear(other(side), 1);
    CHECK(looks(rendezvous, side, true));
    rendezvous.appear(other(side), 0);
    CHECK(!looks(rendezvous, side, true));
  }
}

TEST_CASE("rendezvous: who looks has appeared") {
  Rendezvous rendezvous{};
  CHECK(!looks(rendezvous, Side::caller, true));
  bool looked = false;
  CHECK(rendezvous.look(
      Side::worker, [&] { return looked = true; }, 1));
  CHECK(looked);
}

TEST_CASE(
    "rendezvous: each look in vain is followed by twice as many waits without one, up to 63") {
  Rendezvous rendezvous{};
  rendezvous.appear(Side::worker, 1);
  for (const int left_out : {1, 3, 7, 15, 31, 63, 63}) {
    CHECK(looks(rendezvous, Side::caller, false));
    for (int wait = 0; wait < left_out; ++wait) CHECK(!looks(rendezvous, Side::caller, true));
  }
}

TEST_CASE("rendezvous: a look that pays makes good for those in vain, and each side learns alone") {
  Rendezvous rendezvous{};
  rendezvous.appear(Side::worker, 1);
  CHECK(looks(rendezvous, Side::caller, false));
  CHECK(!looks(rendezvous, Side::caller, true));
  CHECK(looks(rendezvous, Side::caller, true));
  CHECK(looks(rendezvous, Side::caller, true));
  CHECK(looks(rendezvous, Side::caller, false));
  CHECK(!looks(rendezvous, Side::caller, true));

  rendezvous.appear(Side::caller, 1);
  CHECK(looks(rendezvous, Side::worker, true));
}

TEST_CASE("rendezvous: one of each side looks at a time") {
  Rendezvous rendezvous{};
  rendezvous.appear(Side::caller, 1);
  rendezvous.appear(Side::worker, 1);
  bool second = true;
  bool opposite = false;
  const auto is_there = [&] {
    second = looks(rendezvous, Side::caller, true);
    rendezvous.appear(Side::caller, 1);
    opposite = looks(rendezvous, Side::worker, true);
    return true;
  };
  CHECK(rendezvous.look(Side::caller, is_there, 0));
  CHECK(!second);
  CHECK(opposite);
  rendezvous.appear(Side::worker, 1);
  CHECK(looks(rendezvous, Side::caller, true));
}

TEST_CASE("rendezvous: a child of fork() looks although its parent did") {
  Rendezvous rendezvous{};
  rendezvous.appear(Side::worker, 1);
  bool in_child = false;
  const auto is_there = [&] {
    rendezvous.forget();
    in_child = looks(rendezvous, Side::caller, true);
    return true;
  };
  CHECK(rendezvous.look(Side::caller, is_there, 0));
  CHECK(in_child);
}

}  // namespace unirun
