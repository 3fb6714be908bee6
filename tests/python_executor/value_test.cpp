#include "executors/python/values/value.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "executors/python/error.h"

using namespace unirun::python;
using Kind = Value::Kind;

namespace {

Value nested(std::size_t depth) {
  Value value;
  for (std::size_t i = 0; i < depth; ++i) {
    Array around;
    around.push_back(std::move(value));
    value = std::move(around);
  }
  return value;
}

}  // namespace

TEST_CASE("E29: a value is made of the natural types, and is what it was made of") {
  CHECK(Value().is_null());
  CHECK(Value(nullptr).is_null());
  CHECK(Value(true).as_bool());
  CHECK(Value(-3).as_int64() == -3);
  CHECK(Value(3U).as_int64() == 3);
  CHECK(Value(std::uint8_t{200}).as_int64() == 200);
  CHECK(Value(1.5F).as_double() == 1.5);
  CHECK(Value("text").as_string() == "text");
  CHECK(Value(std::string_view("a\0b", 3)).as_string().size() == 3);
  CHECK(Value(Bytes{"raw"}).as_bytes().data == "raw");
  CHECK(Value(Array{1, "two", 3.0}).as_array().size() == 3);
  CHECK(Value(Object{{"one", 1}}).as_object().find("one")->as_int64() == 1);
  CHECK(Value(Ref()).is_ref());
}

TEST_CASE("E29: a value is not made of what could mean two things") {
  static_assert(!std::is_constructible_v<Value, void*>);
  static_assert(!std::is_constructible_v<Value, int*>);
  static_assert(!std::is_constructible_v<Value, char>);
  static_assert(!std::is_constructible_v<Value, char32_t>);
  CHECK(Value("true").kind() == Kind::string);  // And never a bool, as a pointer would be.
  CHECK(Value(std::string("x").c_str()).kind() == Kind::string);
}

TEST_CASE("E29: an integer has one form: unsigned only where it is beyond the signed") {
  constexpr auto last = std::numeric_limits<std::int64_t>::max();
  CHECK(Value(static_cast<std::uint64_t>(last)).kind() == Kind::integer);
  CHECK(Value(static_cast<std::uint64_t>(last) + 1).kind() == Kind::unsigned_integer);
  CHECK(Value(std::uint64_t{7}) == Value(7));
  CHECK(Value(7).is_uint64());
  CHECK(Value(7).as_uint64() == 7);
  CHECK_FALSE(Value(-7).is_uint64());
  CHECK(Value(std::numeric_limits<std::uint64_t>::max()).as_uint64() ==
        std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("E29: values are alike only within a kind") {
  CHECK(Value(1) != Value(1.0));
  CHECK(Value(1) != Value(true));
  CHECK(Value("a") != Value(Bytes{"a"}));
  CHECK(Value(0.0) == Value(-0.0));
  CHECK(Value(std::nan("")) != Value(std::nan("")));
  CHECK(Value(Array{1, Array{2}}) == Value(Array{1, Array{2}}));
}

TEST_CASE("E29: an object keeps the order of its keys, which does not count when it is compared") {
  Object object;
  object["second"] = 2;
  object["first"] = 1;
  object["second"] = 3;
  REQUIRE(object.size() == 2);
  CHECK(object.begin()->first == "second");
  CHECK(object == Object{{"first", 1}, {"second", 3}});
  CHECK(object != Object{{"first", 1}, {"second", 4}});
  CHECK(object != Object{{"first", 1}, {"third", 3}});
  CHECK(object.find("third") == nullptr);
  CHECK(Object{{"a", 1}, {"a", 2}} == Object{{"a", 2}});
}

TEST_CASE("E29: get_if gives what is held, and null for another kind") {
  Value value = "text";
  REQUIRE(value.get_if<std::string>() != nullptr);
  *value.get_if<std::string>() += "s";
  CHECK(value.as_string() == "texts");
  CHECK(value.get_if<Array>() == nullptr);
}

TEST_CASE("E29: a value moves out what it holds") {
  const std::string text(1000, 'x');
  Value value = text;
  const char* data = value.as_string().data();
  const std::string moved = std::move(value).as_string();
  CHECK(moved.data() == data);
  static_assert(std::is_nothrow_move_constructible_v<Value>);
  static_assert(sizeof(Value) <= 40);
}

TEST_CASE("E29: a value reads well in a message, and briefly") {
  const Value value = Object{{"n", nullptr},
                             {"yes", true},
                             {"list", Array{1, -2, 0.5, "a\"b\n", Bytes{"\xff\\"}}},
                             {"r", Ref()}};
  CHECK(to_string(value) ==
        R"({"n": null, "yes": true, "list": [1, -2, 0.5, "a\"b\n", b"\xff\\"], "r": <ref>})");
  CHECK(to_string(Value("na\u00efve")) == "\"na\u00efve\"");
  CHECK(to_string(Value("bad \xff")) == R"("bad \xff")");
  CHECK(to_string(Value(std::string(1000, 'x')), 10) == "\"xxxxxxxxx...");
  CHECK(to_string(Value("\u00ef\u00ef\u00ef"), 4) == "\"\u00ef...");  // Never half a character.
  CHECK(to_string(nested(1000)).size() == 203);
}

TEST_CASE("E29: JSON gives every value back but a Ref") {
  const Value value = Object{{"null", nullptr},
                             {"bool", false},
                             {"int", std::numeric_limits<std::int64_t>::min()},
                             {"uint", std::numeric_limits<std::uint64_t>::max()},
                             {"float", 0.1},
                             {"text", std::string("\0\u00ef", 3)},
                             {"bytes", Bytes{std::string("\xff\0", 2)}},
                             {"array", Array{1, Array{}, Object{}}}};
  const auto json = to_json(value);
  REQUIRE(json.ok());
  CHECK((*json)["bytes"].is_binary());
  const auto back = from_json(*json);
  REQUIRE(back.ok());
  CHECK(*back == value);
}

TEST_CASE("E29: what JSON cannot hold is refused with its place") {
  const auto ref = to_json(Object{{"items", Array{1, Object{{"the name", Ref()}}}}});
  REQUIRE_FALSE(ref.ok());
  CHECK(ref.error().code == Errc::conversion);
  CHECK(ref.error().message ==
        "at .items[1][\"the name\"]: a Ref to a Python object has no form in JSON");
  CHECK(to_json(Ref()).error().message == "a Ref to a Python object has no form in JSON");
  CHECK(to_json(Array{"\xed\xa0\x80"}).error().message ==
        "at [0]: not UTF-8 at byte 0: bytes go as Bytes");
}

TEST_CASE("E29: JSON nests as deeply as values may, and no deeper") {
  const auto deepest = to_json(nested(max_depth));
  REQUIRE(deepest.ok());
  CHECK(from_json(*deepest).ok());
  CHECK(to_json(nested(max_depth + 1)).error().message.ends_with("deeper than 512 levels"));
  CHECK(from_json(nlohmann::json::array({*deepest})).error().code == Errc::conversion);
  CHECK(from_json(nlohmann::json(nlohmann::json::value_t::discarded)).error().code ==
        Errc::conversion);
}

TEST_CASE("E29: the end of what is UTF-8 is found") {
  const auto whole = [](std::string_view text) { return utf8_length(text) == text.size(); };
  CHECK(whole(""));
  CHECK(whole("plain"));
  CHECK(whole("\u00ef\u20ac\U0001f600\U0010ffff\ud7ff\ue000"));
  for (const std::string_view bad :
       {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    CAPTURE(bad);
    CHECK(utf8_length(bad) == 0);
    CHECK(utf8_length("ab" + std::string(bad)) == 2);
  }
}

TEST_CASE("E29: each error code has a word of its own") {
  std::set<std::string_view> words;
  for (auto code = 0; code <= static_cast<int>(Errc::unknown_function); ++code) {
    words.insert(to_string(static_cast<Errc>(code)));
  }
  CHECK(words.size() == static_cast<std::size_t>(Errc::unknown_function) + 1);
  CHECK(to_string(Errc::queue_full) == "queue_full");
  CHECK(to_string(Errc::unknown_function) == "unknown_function");
}
