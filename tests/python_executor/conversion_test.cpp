#include "executors/python/values/conversion.h"

#include "tests/python_executor/interpreter_fixture.h"
// Python.h first.

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "executors/python/values/typed_value.h"

using namespace unirun::python;

namespace {

constexpr auto least = std::numeric_limits<std::int64_t>::min();
constexpr auto most = std::numeric_limits<std::int64_t>::max();
constexpr auto most_unsigned = std::numeric_limits<std::uint64_t>::max();

class Conversion : public WithPython {
 protected:
  Value value_of(const std::string& expression, const ConversionOptions& options = {}) {
    Result<Value> value = to_value(eval(expression).get(), options);
    INFO(expression);
    REQUIRE_MESSAGE(value.ok(), (value.ok() ? "" : value.error().message));
    CHECK(PyErr_Occurred() == nullptr);
    return *std::move(value);
  }

  std::string refusal_of(const std::string& expression, const ConversionOptions& options = {}) {
    const Result<Value> value = to_value(eval(expression).get(), options);
    INFO(expression);
    CHECK(PyErr_Occurred() == nullptr);
    REQUIRE_FALSE(value.ok());
    CHECK(value.error().code == Errc::conversion);
    return value.error().message;
  }

  Reference python_of(const Value& value, const ConversionOptions& options = {}) {
    Result<Reference> object = to_python(value, options);
    REQUIRE_MESSAGE(object.ok(), (object.ok() ? "" : object.error().message));
    CHECK(PyErr_Occurred() == nullptr);
    return *std::move(object);
  }

  Error fault_of(const Value& value, const ConversionOptions& options = {}) {
    const Result<Reference> object = to_python(value, options);
    CHECK(PyErr_Occurred() == nullptr);
    REQUIRE_FALSE(object.ok());
    return object.error();
  }

  bool comes_back(const std::string& expression, const ConversionOptions& options = {}) {
    const Reference object = eval(expression);
    const Result<Value> value = to_value(object.get(), options);
    REQUIRE_MESSAGE(value.ok(), (value.ok() ? "" : value.error().message));
    const Reference back = python_of(*value, options);
    return PyObject_RichCompareBool(object.get(), back.get(), Py_EQ) == 1 &&
           Py_TYPE(object.get()) == Py_TYPE(back.get());
  }
};

Value nested(std::size_t depth) {
  Value value = 1;
  for (std::size_t i = 0; i < depth; ++i) value = Array{std::move(value)};
  return value;
}

// Like ==, but NaN is NaN, zeros have their signs, and the order of keys counts.
bool same(const Value& one, const Value& other) {
  if (one.kind() != other.kind()) return false;
  if (one.is_double()) {
    return (std::isnan(one.as_double()) && std::isnan(other.as_double())) ||
           std::bit_cast<std::uint64_t>(one.as_double()) ==
               std::bit_cast<std::uint64_t>(other.as_double());
  }
  if (one.is_array()) return std::ranges::equal(one.as_array(), other.as_array(), same);
  if (one.is_object()) {
    return std::ranges::equal(one.as_object(), other.as_object(), [](const auto& a, const auto& b) {
      return a.first == b.first && same(a.second, b.second);
    });
  }
  return one == other;
}

// Draws values of every kind, with a liking for the ends of their ranges.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}

  Value value(int levels = 4) {
    switch (below(levels > 0 ? 10 : 8)) {
      case 0: return nullptr;
      case 1: return below(2) == 0;
      case 2: return static_cast<std::int64_t>(bits());
      case 3: return bits();
      case 4: return std::bit_cast<double>(bits());
      case 5: return odd_number();
      case 6: return text();
      case 7: return Bytes{bytes()};
      case 8: {
        Array array(below(6));
        for (Value& item : array) item = value(levels - 1);
        return array;
      }
      default: {
        Object object;
        for (auto left = below(6); left > 0; --left) object[text()] = value(levels - 1);
        return object;
      }
    }
  }

  std::string text() {
    std::string text;
    for (auto left = below(12); left > 0; --left) put(text, character());
    return text;
  }

  std::string bytes() {
    std::string bytes(below(20), '\0');
    for (char& c : bytes) c = static_cast<char>(below(256));
    return bytes;
  }

  std::uint64_t below(std::uint64_t end) { return random_() % end; }

 private:
  std::uint64_t bits() { return random_() >> below(64); }

  Value odd_number() {
    const Value odd[] = {0,
                         -0.0,
                         -1,
                         least,
                         most,
                         most_unsigned,
                         static_cast<std::uint64_t>(most) + 1,
                         1e308,
                         5e-324,
                         std::nan(""),
                         std::numeric_limits<double>::infinity(),
                         -std::numeric_limits<double>::infinity()};
    return odd[below(std::size(odd))];
  }

  // Of each length of UTF-8, and NUL; no halves of pairs.
  std::uint32_t character() {
    switch (below(6)) {
      case 0: return 0;
      case 1: return static_cast<std::uint32_t>(0x80 + below(0x780));
      case 2: return static_cast<std::uint32_t>(0x800 + below(0xd000));
      case 3: return static_cast<std::uint32_t>(0xe000 + below(0x2000));
      case 4: return static_cast<std::uint32_t>(0x10000 + below(0x100000));
      default: return static_cast<std::uint32_t>(0x20 + below(0x5f));
    }
  }

  static void put(std::string& text, std::uint32_t c) {
    const auto byte = [&](std::uint32_t b) { text.push_back(static_cast<char>(b)); };
    if (c < 0x80) return byte(c);
    if (c >= 0x10000) byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f));
    if (c >= 0x800 && c < 0x10000) byte(0xe0 | c >> 12);
    if (c >= 0x800) byte(0x80 | (c >> 6 & 0x3f));
    if (c < 0x800) byte(0xc0 | c >> 6);
    byte(0x80 | (c & 0x3f));
  }

  std::mt19937_64 random_;
};

void values_come_back(std::uint64_t seed, int count) {
  CAPTURE(seed);
  Draw draw(seed);
  for (int i = 0; i < count; ++i) {
    const Value value = draw.value();
    const Result<Reference> object = to_python(value);
    const Result<Value> back =
        object.ok() ? to_value(object->get()) : Result<Value>(object.error());
    if (back.ok() && same(value, *back)) continue;
    INFO("value " << i << ": " << to_string(value));
    FAIL((back.ok() ? "came back as " + to_string(*back) : back.error().message));
  }
}

// Bytes that are nearly UTF-8, against Python's own decoder.
void bytes_are_judged_as_python_does(std::uint64_t seed, int count) {
  CAPTURE(seed);
  Draw draw(seed);
  for (int i = 0; i < count; ++i) {
    std::string bytes = draw.text() + draw.text();
    for (auto hits = draw.below(3); hits > 0 && !bytes.empty(); --hits) {
      bytes[draw.below(bytes.size())] = static_cast<char>(draw.below(256));
    }
    bytes.resize(bytes.size() - draw.below(2) * (bytes.empty() ? 0 : 1));
    const Reference str = Reference::steal(
        PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), nullptr));
    auto good = static_cast<Py_ssize_t>(bytes.size());
    if (!str) {
      PyObject* type = nullptr;
      PyObject* error = nullptr;
      PyObject* traceback = nullptr;
      PyErr_Fetch(&type, &error, &traceback);
      PyErr_NormalizeException(&type, &error, &traceback);
      PyUnicodeDecodeError_GetStart(error, &good);
      Py_XDECREF(type);
      Py_XDECREF(error);
      Py_XDECREF(traceback);
    }
    INFO(to_string(Value(Bytes{bytes})));
    REQUIRE(utf8_length(bytes) == static_cast<std::size_t>(good));
    REQUIRE(to_python(bytes).ok() == static_cast<bool>(str));
  }
}

}  // namespace

TEST_CASE_FIXTURE(Conversion, "A29: what is a value in Python is the same in C++") {
  CHECK(value_of("None") == Value());
  CHECK(value_of("True") == Value(true));
  CHECK(value_of("0") == Value(0));
  CHECK(value_of("-2**63") == Value(least));
  CHECK(value_of("2**63 - 1") == Value(most));
  CHECK(value_of("2**63") == Value(static_cast<std::uint64_t>(most) + 1));
  CHECK(value_of("2**64 - 1") == Value(most_unsigned));
  CHECK(value_of("0.1") == Value(0.1));
  CHECK(std::isnan(value_of("float('nan')").as_double()));
  CHECK(value_of("float('-inf')") == Value(-std::numeric_limits<double>::infinity()));
  CHECK(value_of("'plain'") == Value("plain"));
  CHECK(value_of("'na\\u00efve \\u20ac \\U0001f600'") == Value("na\u00efve \u20ac \U0001f600"));
  CHECK(value_of("'a\\0b'") == Value(std::string_view("a\0b", 3)));
  CHECK(value_of("b'a\\0\\xff'") == Value(Bytes{{"a\0\xff", 3}}));
  CHECK(value_of("bytearray(b'ab')") == Value(Bytes{"ab"}));
  CHECK(value_of("[1, (2, 'x'), []]") == Value(Array{1, Array{2, "x"}, Array{}}));
  CHECK(value_of("{'b': 1, 'a': {}}").as_object().begin()->first == "b");
}

TEST_CASE_FIXTURE(Conversion, "A29: what is a value in C++ is the same in Python") {
  CHECK(holds(python_of(nullptr).get(), "it is None"));
  CHECK(holds(python_of(true).get(), "it is True"));
  CHECK(holds(python_of(least).get(), "it == -2**63 and type(it) is int"));
  CHECK(holds(python_of(most_unsigned).get(), "it == 2**64 - 1"));
  CHECK(holds(python_of(0.1).get(), "it == 0.1"));
  CHECK(holds(python_of(std::nan("")).get(), "it != it"));
  CHECK(holds(python_of("na\u00efve \U0001f600").get(), "it == 'na\\u00efve \\U0001f600'"));
  CHECK(holds(python_of(std::string_view("a\0b", 3)).get(), "it == 'a\\0b'"));
  CHECK(holds(python_of(Bytes{{"\0\xff", 2}}).get(), "it == b'\\0\\xff'"));
  CHECK(holds(python_of(Array{1, Array{}, Object{}}).get(), "it == [1, [], {}]"));
  CHECK(holds(python_of(Object{{"b", 1}, {"a", 2}}).get(),
              "list(it.items()) == [('b', 1), ('a', 2)]"));
}

TEST_CASE_FIXTURE(Conversion, "A29: an instance of a subclass counts as one of its base") {
  run("import collections, enum\n"
      "class Colour(enum.IntEnum): RED = 3\n"
      "class Name(str): pass\n"
      "class Share(float): pass\n"
      "class Blob(bytes): pass\n"
      "class Row(list): pass\n"
      "class Bag(dict): pass\n"
      "Point = collections.namedtuple('Point', 'x y')");
  CHECK(value_of("Colour.RED") == Value(3));
  CHECK(value_of("Name('n\\u00ef')") == Value("n\u00ef"));
  CHECK(value_of("Share(0.5)") == Value(0.5));
  CHECK(value_of("Blob(b'b')") == Value(Bytes{"b"}));
  CHECK(value_of("Row([1])") == Value(Array{1}));
  CHECK(value_of("Bag(a=1)") == Value(Object{{"a", 1}}));
  CHECK(value_of("collections.OrderedDict(a=1)") == Value(Object{{"a", 1}}));
  CHECK(value_of("Point(1, 2)") == Value(Array{1, 2}));
  CHECK(value_of("{Name('a'): 1}") == Value(Object{{"a", 1}}));
}

TEST_CASE_FIXTURE(Conversion, "A29: an int beyond 64 bits is refused, or its digits on request") {
  CHECK(refusal_of("2**64") == "the int is beyond 64 bits; big_integers_as_text gives its digits");
  CHECK(refusal_of("{'n': [-2**63 - 1]}") ==
        "at .n[0]: the int is beyond 64 bits; big_integers_as_text gives its digits");
  const ConversionOptions as_text{.big_integers_as_text = true};
  CHECK(value_of("2**64", as_text) == Value("18446744073709551616"));
  CHECK(value_of("-2**63 - 1", as_text) == Value("-9223372036854775809"));
  CHECK(value_of("7", as_text) == Value(7));
  CHECK(refusal_of("10**5000", as_text).find("get_int_max_str_digits") != std::string::npos);
}

TEST_CASE_FIXTURE(Conversion, "A29: what has no form is refused with its place") {
  CHECK(refusal_of("{'items': [0, 1, 2, {'name': {1: 2}}]}") ==
        "at .items[3].name: the dict has a key of type int; keys are str");
  CHECK(refusal_of("{'a b': '\\ud800'}") ==
        "at [\"a b\"]: the str has half of a surrogate pair (U+D800) at 0, for which UTF-8 has no "
        "form");
  CHECK(refusal_of("{'x\\udc80': 1}")
            .starts_with("the str has half of a surrogate pair (U+DC80) at 1"));
  CHECK(refusal_of("{None: 1}") == "the dict has a key of type NoneType; keys are str");
  const ConversionOptions strict{.others_as_refs = false};
  CHECK(refusal_of("[{1, 2}]", strict) == "at [0]: a set is no value, and has no converter");
  CHECK(refusal_of("1j", strict) == "a complex is no value, and has no converter");
}

TEST_CASE_FIXTURE(Conversion, "A29: two keys that read the same are refused") {
  run("class Key(str):\n"
      "    __hash__ = object.__hash__\n"
      "    def __eq__(self, other): return self is other");
  CHECK(refusal_of("{Key('a'): 1, Key('a'): 2}") == "the dict has two keys that read \"a\"");
  CHECK(refusal_of("{'a': 1, Key('a'): 2}") == "the dict has two keys that read \"a\"");
}

TEST_CASE_FIXTURE(Conversion, "A29: other objects stay Python's, by a Ref") {
  run("thing = object()");
  const Value value = value_of("[thing]");
  REQUIRE(value.as_array()[0].is_ref());
  CHECK(holds(python_of(value).get(), "it[0] is thing"));
  CHECK(value_of("print").is_ref());
  CHECK(fault_of(Ref()).code == Errc::conversion);
}

TEST_CASE_FIXTURE(Conversion, "A29: a Ref enters no interpreter but its own") {
  const Value value = Array{value_of("object()")};
  PyThreadState* const main = PyThreadState_Get();
  PyThreadState* const other = Py_NewInterpreter();
  REQUIRE(other != nullptr);
  const Result<Reference> object = to_python(value);
  Py_EndInterpreter(other);
  PyThreadState_Swap(main);
  REQUIRE_FALSE(object.ok());
  CHECK(object.error().code == Errc::wrong_interpreter);
  CHECK(object.error().message.starts_with(
      "at [0]: a Ref of interpreter 0 can not enter interpreter"));
}

TEST_CASE_FIXTURE(Conversion, "A29: a sub-interpreter converts as the main one does") {
  PyThreadState* const main = PyThreadState_Get();
  PyThreadState* const other = Py_NewInterpreter();
  REQUIRE(other != nullptr);
  const Converters converters = Converters::standard();
  const ConversionOptions options{.keep_tuples = true, .converters = &converters};
  const Value value = Object{{"when", Object{{"__date__", "2026-11-21"}}},
                             {"pair", Object{{"__tuple__", Array{1, 2.5}}}}};
  bool alike = false;
  {
    const Result<Reference> object = to_python(value, options);
    const Result<Value> back =
        object.ok() ? to_value(object->get(), options) : Result<Value>(object.error());
    alike = back.ok() && *back == value;
  }
  Py_EndInterpreter(other);
  PyThreadState_Swap(main);
  CHECK(alike);
}

TEST_CASE_FIXTURE(Conversion, "A29: cycles and what is too deep are refused, both ways") {
  run("deep = 1\n"
      "for _ in range(512): deep = [deep]\n"
      "mixed = 1\n"
      "for _ in range(257): mixed = [{'k': mixed}]\n"
      "cycle = {'a': []}\n"
      "cycle['a'].append((cycle,))");
  CHECK(value_of("deep") == nested(max_depth));
  const std::string refusal = refusal_of("[deep]");
  CHECK(refusal.starts_with("at [0][0][0]"));
  CHECK(refusal.ends_with("[0]: deeper than 512 levels"));
  CHECK(refusal.size() < 500);
  CHECK(refusal_of("mixed").ends_with("deeper than 512 levels"));
  CHECK(refusal_of("cycle").ends_with("that contains itself"));
  CHECK(comes_back("deep"));
  const Error error = fault_of(nested(max_depth + 1));
  CHECK(error.code == Errc::conversion);
  CHECK(error.message.ends_with("deeper than 512 levels"));
  run("deep = mixed = cycle = None");
}

TEST_CASE_FIXTURE(Conversion, "A29: the same object twice is no cycle") {
  CHECK(value_of("(lambda x: [x, x, {'x': x}])([1])") ==
        Value(Array{Array{1}, Array{1}, Object{{"x", Array{1}}}}));
}

TEST_CASE_FIXTURE(Conversion, "A29: a text that is not UTF-8 does not enter Python") {
  CHECK(fault_of(Array{"ok", "bad\xff"}).message ==
        "at [1]: not UTF-8 at byte 3: bytes go as Bytes");
  CHECK(fault_of(Object{{"\xed\xa0\x80", 1}}).message ==
        "at [\"\\xed\\xa0\\x80\"]: not UTF-8 at byte 0: bytes go as Bytes");
}

TEST_CASE_FIXTURE(Conversion, "A29: a tuple is kept by its tag on request") {
  const ConversionOptions keep{.keep_tuples = true};
  CHECK(value_of("(1, (2,))", keep) ==
        Value(Object{{"__tuple__", Array{1, Object{{"__tuple__", Array{2}}}}}}));
  CHECK(comes_back("{'a': (1, [2, ()], {'b': ()})}", keep));
  CHECK(comes_back("{'__tuple__': [1]}"));
  CHECK(refusal_of("[{'__tuple__': [1]}]", keep) ==
        "at [0]: a dict with the one key \"__tuple__\" would not come back as a dict");
  CHECK(comes_back("{'__tuple__': [1], 'more': 2}", keep));
}

TEST_CASE_FIXTURE(Conversion,
                  "A29: dates, decimals and UUIDs come back by the standard converters") {
  run("import datetime, decimal, uuid");
  const Converters converters = Converters::standard();
  const ConversionOptions options{.others_as_refs = false, .converters = &converters};
  CHECK(value_of("datetime.date(2026, 11, 21)", options) ==
        Value(Object{{"__date__", "2026-11-21"}}));
  for (const char* expression :
       {"datetime.datetime(2026, 11, 21, 21, 5, 3, 17)",
        "datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc)",
        "datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, "
        "tzinfo=datetime.timezone(datetime.timedelta(hours=-5, seconds=7)))",
        "datetime.time(1, 2, 3, 4)", "datetime.timedelta.min", "datetime.timedelta.max",
        "decimal.Decimal('0.10')", "decimal.Decimal('-Infinity')", "decimal.Decimal('1E+999')",
        "uuid.UUID(int=2**127 + 1)", "[{'at': datetime.date.max}]"}) {
    CAPTURE(expression);
    CHECK(comes_back(expression, options));
  }
  CHECK(value_of("datetime.date.max").is_ref());
  CHECK(fault_of(Array{Object{{"__date__", "yesterday"}}}, options)
            .message.starts_with("at [0].__date__: "));
  CHECK(fault_of(Object{{"__uuid__", 7}}, options).code == Errc::conversion);
  CHECK(fault_of(Object{{"__timedelta__", Array{1}}}, options).code == Errc::conversion);
  CHECK(refusal_of("{'__date__': 1}", options).find("would not come back") != std::string::npos);
}

TEST_CASE_FIXTURE(
    Conversion,
    "A29: a converter of one's own serves exactly its type, and comes before its bases") {
  run("import enum\n"
      "class Size(enum.IntEnum): BIG = 1\n"
      "class Odd(Exception): pass");
  Converters converters;
  converters.add({.type = "test.Size",
                  .tag = "",
                  .to_value = [](PyObject* object) -> Result<Value> {
                    return to_value(Reference::steal(PyObject_GetAttrString(object, "name")).get());
                  },
                  .to_python = nullptr});
  converters.add({.type = "test.Odd",
                  .tag = "odd",
                  .to_value = [](PyObject*) -> Result<Value> {
                    PyErr_SetNone(PyExc_ValueError);  // And forgets to take it off.
                    return Error{.code = Errc::conversion, .message = "too odd"};
                  },
                  .to_python = nullptr});
  const ConversionOptions options{.converters = &converters};
  CHECK(value_of("[Size.BIG, 1]", options) == Value(Array{"BIG", 1}));
  CHECK(refusal_of("[Odd()]", options) == "at [0]: too odd");
}

TEST_CASE_FIXTURE(Conversion, "A29: a dict or list that changes while it is converted is refused") {
  run("class Changer: pass\n"
      "changer = Changer()\n"
      "def change(): pass");
  Converters converters;
  converters.add({.type = "test.Changer",
                  .tag = "",
                  .to_value = [this](PyObject*) -> Result<Value> {
                    run("change()");
                    return Value(1);
                  },
                  .to_python = nullptr});
  const ConversionOptions options{.converters = &converters};
  const auto changed_by = [&](const std::string& target, const std::string& change) {
    CAPTURE(change);
    run("target = " + target + "\ndef change(): " + change);
    return refusal_of("target", options);
  };
  const std::string dict = "{'a': [changer], 'b': changer, 'c': 'text' * 9}";
  const std::string in_dict = "the dict changed while it was converted";
  CHECK(changed_by(dict, "target[object()] = 1") == in_dict);
  CHECK(changed_by(dict, "target.clear()") == in_dict);
  CHECK(changed_by(dict, "target.pop('c', None)") == in_dict);
  CHECK(changed_by(dict, "target.update((str(i), i) for i in range(1000))") == in_dict);
  const std::string list = "[[1], changer, 'text' * 9, 2]";
  const std::string in_list = "the list changed while it was converted";
  CHECK(changed_by(list, "target.append(1)") == in_list);
  CHECK(changed_by(list, "target.clear()") == in_list);
  CHECK(changed_by(list, "del target[-1]") == in_list);
}

TEST_CASE_FIXTURE(Conversion, "A29: 50,000 random values come back as they were") {
  values_come_back(29, 50'000);
}

TEST_CASE_FIXTURE(Conversion, "A29: nightly: a million random values come back as they were" *
                                  doctest::skip()) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) values_come_back(seed, 50'000);
}

TEST_CASE_FIXTURE(Conversion, "A29: bytes are judged to be UTF-8 as Python judges them") {
  bytes_are_judged_as_python_does(29, 50'000);
}

TEST_CASE_FIXTURE(Conversion,
                  "A29: nightly: a million strings of bytes are judged as Python judges them" *
                      doctest::skip()) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) bytes_are_judged_as_python_does(seed, 50'000);
}

TEST_CASE_FIXTURE(Conversion, "A29: random objects of Python's come back as they were") {
  run("import datetime, decimal, random, uuid\n"
      "def draw(r, levels):\n"
      "    def text(): return ''.join(chr(r.choice([0, 65, 0xe9, 0x20ac, 0x1f600])) for _ in "
      "range(r.randrange(9)))\n"
      "    match r.randrange(12 if levels else 8):\n"
      "        case 0: return None\n"
      "        case 1: return r.random() < .5\n"
      "        case 2: return r.randrange(-2**63, 2**64) >> r.randrange(64)\n"
      "        case 3: return r.uniform(-1e9, 1e9)\n"
      "        case 4: return text()\n"
      "        case 5: return r.randbytes(r.randrange(9))\n"
      "        case 6: return datetime.datetime.fromtimestamp(r.randrange(2**32), "
      "datetime.timezone.utc)\n"
      "        case 7: return r.choice([decimal.Decimal(r.randrange(10**30)) / 7, "
      "uuid.UUID(int=r.getrandbits(128))])\n"
      "        case 8 | 9: return [draw(r, levels - 1) for _ in range(r.randrange(5))]\n"
      "        case 10: return tuple(draw(r, levels - 1) for _ in range(r.randrange(5)))\n"
      "        case 11: return {text(): draw(r, levels - 1) for _ in range(r.randrange(5))}\n"
      "r = random.Random(29)");
  const Converters converters = Converters::standard();
  const ConversionOptions options{
      .keep_tuples = true, .others_as_refs = false, .converters = &converters};
  for (int i = 0; i < 2'000; ++i) {
    CAPTURE(i);
    const Reference object = eval("draw(r, 4)");
    const Result<Value> value = to_value(object.get(), options);
    REQUIRE_MESSAGE(value.ok(), (value.ok() ? "" : value.error().message));
    const Reference back = python_of(*value, options);
    const Reference before = Reference::steal(PyObject_Repr(object.get()));
    const Reference after = Reference::steal(PyObject_Repr(back.get()));
    REQUIRE(PyUnicode_Compare(before.get(), after.get()) == 0);
  }
}

TEST_CASE("E12: a value becomes the type of C++ that is asked for") {
  CHECK(*from_value<bool>(true));
  CHECK(*from_value<std::uint8_t>(255) == 255);
  CHECK(*from_value<std::int64_t>(least) == least);
  CHECK(*from_value<std::uint64_t>(most_unsigned) == most_unsigned);
  CHECK(*from_value<double>(0.5) == 0.5);
  CHECK(*from_value<double>(3) == 3.0);
  CHECK(*from_value<float>(std::numeric_limits<double>::infinity()) ==
        std::numeric_limits<float>::infinity());
  CHECK(*from_value<std::string>("text") == "text");
  CHECK(from_value<Bytes>(Bytes{"b"})->data == "b");
  CHECK(*from_value<std::vector<int>>(Array{1, 2}) == std::vector<int>{1, 2});
  CHECK(*from_value<std::vector<bool>>(Array{true, false}) == std::vector<bool>{true, false});
  CHECK(from_value<Array>(Array{1, "x"})->size() == 2);
  CHECK(*from_value<Value>("any") == Value("any"));
  CHECK_FALSE(from_value<std::optional<int>>(nullptr)->has_value());
  CHECK(**from_value<std::optional<int>>(3) == 3);
  CHECK(from_value<std::map<std::string, int>>(Object{{"a", 1}})->at("a") == 1);
  const auto tuple =
      from_value<std::tuple<int, std::string, std::optional<double>>>(Array{1, "two", nullptr});
  REQUIRE(tuple.ok());
  CHECK(std::get<1>(*tuple) == "two");
}

TEST_CASE("E12: what does not fit the type that is asked for is refused in words") {
  const auto why = [](const auto& result) {
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == Errc::conversion);
    return result.error().message;
  };
  CHECK(why(from_value<std::uint8_t>(300)) == "expected an integer from 0 to 255, got integer 300");
  CHECK(why(from_value<std::int8_t>("7")) ==
        "expected an integer from -128 to 127, got string \"7\"");
  CHECK(why(from_value<std::uint64_t>(-1))
            .starts_with("expected an integer from 0 to 18446744073709551615"));
  CHECK(why(from_value<std::int64_t>(most_unsigned))
            .ends_with("got unsigned integer 18446744073709551615"));
  CHECK(why(from_value<int>(true)).ends_with("got bool true"));
  CHECK(why(from_value<int>(3.0)).ends_with("got float 3"));
  CHECK(why(from_value<bool>(1)) == "expected a bool, got integer 1");
  CHECK(why(from_value<double>(most)).starts_with("expected a number"));
  CHECK(why(from_value<float>(1e39)).starts_with("expected a number that fits into a float"));
  CHECK(why(from_value<std::string>(nullptr)) == "expected a string, got null");
  CHECK(why(from_value<std::string>(Bytes{"b"})) == "expected a string, got bytes b\"b\"");
  CHECK(
      why(from_value<std::vector<int>>(Array{1, "x"})).starts_with("at [1]: expected an integer"));
  CHECK(why(from_value<std::map<std::string, std::vector<int>>>(Object{{"a", Array{nullptr}}}))
            .starts_with("at .a[0]: expected an integer"));
  CHECK(why(from_value<std::tuple<int, int>>(Array{1})) == "expected an array of 2, got array [1]");
  CHECK(why(from_value<std::pair<int, int>>(Array{1, false})).starts_with("at [1]: expected"));
  CHECK(why(from_value<Ref>(1)).starts_with("expected a Ref to a Python object"));
}

TEST_CASE("E12: a value is made of the types that a function may return") {
  CHECK(make_value(3) == Value(3));
  CHECK(make_value("text") == Value("text"));
  CHECK(make_value(std::string_view("text")) == Value("text"));
  CHECK(make_value(std::vector<std::string>{"a"}) == Value(Array{"a"}));
  CHECK(make_value(std::vector<bool>{true}) == Value(Array{true}));
  CHECK(make_value(std::map<std::string, double>{{"a", 0.5}}) == Value(Object{{"a", 0.5}}));
  CHECK(make_value(std::unordered_map<std::string, int>{{"a", 1}}) == Value(Object{{"a", 1}}));
  CHECK(make_value(std::optional<int>()) == Value());
  CHECK(make_value(std::optional<int>(1)) == Value(1));
  CHECK(make_value(std::tuple<int, std::string>(1, "b")) == Value(Array{1, "b"}));
  CHECK(make_value(Value(Array{1})) == Value(Array{1}));
}
