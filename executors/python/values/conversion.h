// Between Python's objects and Values, in any interpreter: nothing is guessed and nothing cut off.
//
//   Python                           Value
//   None, bool, float                null, bool, double; NaN and the infinities too
//   int                              int64, or uint64; beyond that refused, or its digits
//   str                              string in UTF-8; half of a surrogate pair is refused
//   bytes, bytearray                 Bytes
//   list, tuple                      array, which comes back as a list; see keep_tuples
//   dict                             object; a key that is no str is refused
//   a type that has a converter      what the converter says, under its tag
//   all else                         a Ref, or refused
//
// An instance of a subclass (IntEnum, OrderedDict, a named tuple) counts as one of its base.
//
// Thread: with the GIL, and no Python exception set; none is set afterwards either. Errors:
// conversion, with the place, as in "at .items[3].name: ..."; wrong_interpreter; python_exception,
// as MemoryError.

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "executors/python/error.h"
#include "executors/python/python.h"
#include "executors/python/values/value.h"

namespace unirun::python {

// How the objects of further types become values and come back. Types and tags are names, so that
// one set of converters serves every interpreter.
class Converters {
 public:
  using ToValue = std::function<Result<Value>(PyObject*)>;
  using ToPython = std::function<Result<Reference>(const Value&)>;

  struct Converter {
    std::string type;  // "datetime.datetime": of exactly that type, since a subclass may know more.
    std::string tag;   // The value goes as {tag: value}; empty: as it is, and does not come back.
    ToValue to_value;
    ToPython to_python;  // Not for an empty tag.
  };

  // Of two for one type or one tag the last counts.
  Converters& add(Converter converter);

  // datetime's date, time, datetime (an aware one comes back with its offset from UTC, without the
  // name of its zone) and timedelta, decimal.Decimal and uuid.UUID: each under "__NAME__".
  [[nodiscard]] static Converters standard();

  // Null where there is none.
  [[nodiscard]] const Converter* for_type(std::string_view type) const;
  [[nodiscard]] const Converter* for_tag(std::string_view tag) const;

 private:
  std::vector<Converter> converters_;
};

struct ConversionOptions {
  friend bool operator==(const ConversionOptions&, const ConversionOptions&) = default;

  bool keep_tuples = false;  // A tuple goes as {"__tuple__": [...]}, and comes back as one.
  bool big_integers_as_text = false;  // And comes back as text.
  bool others_as_refs = true;
  const Converters* converters = nullptr;  // Must outlive the conversion.
};

// How calls, contexts, streams and C++ functions convert what they take and give; as above, until
// it is set (by Config::conversion), and then for good or until it is set anew. Thread: any.
[[nodiscard]] const ConversionOptions& exchange_options();
void set_exchange_options(const ConversionOptions& options);

// A dict or list that changes meanwhile (converters are Python code) is refused, and so is a dict
// that would come back as something else, having a tag for its only key.
[[nodiscard]] Result<Value> to_value(PyObject* object, const ConversionOptions& options = {});

// A new reference. A Ref enters no interpreter but its own: wrong_interpreter.
[[nodiscard]] Result<Reference> to_python(const Value& value,
                                          const ConversionOptions& options = {});

}  // namespace unirun::python
