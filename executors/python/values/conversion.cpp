#include "executors/python/values/conversion.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "executors/python/values/conversion_fault.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

constexpr std::string_view tuple_tag = "__tuple__";

std::string type_of(PyObject* object) {
  std::string name = type_name(reinterpret_cast<PyObject*>(Py_TYPE(object)));
  constexpr std::string_view builtins = "builtins.";
  return name.starts_with(builtins) ? name.substr(builtins.size()) : name;
}

// ---- Text ----

void append_utf8(std::string& text, Py_UCS4 c) {
  const auto put = [&](Py_UCS4 byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xe0 | c >> 12);
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
    }
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

// Where the first half of a surrogate pair is; `size` where there is none.
template <class Character>
std::size_t encode(const Character* characters, std::size_t size, std::string& text) {
  text.reserve(size + size / 2);
  for (std::size_t i = 0; i < size; ++i) {
    const Py_UCS4 c = characters[i];
    if (c >= 0xd800 && c < 0xe000) return i;
    append_utf8(text, c);
  }
  return size;
}

// PyUnicode_AsUTF8AndSize() would leave a copy with the str for as long as it lives.
bool read_text(PyObject* str, std::string& text, Fault& fault) {
#if PY_VERSION_HEX < 0x030C0000
  if (PyUnicode_READY(str) < 0) return fault.is(error_of_exception());
#endif
  const auto size = static_cast<std::size_t>(PyUnicode_GET_LENGTH(str));
  const void* data = PyUnicode_DATA(str);
  if (PyUnicode_IS_ASCII(str)) {
    text.assign(static_cast<const char*>(data), size);
    return true;
  }
  std::size_t good = 0;
  switch (PyUnicode_KIND(str)) {
    case PyUnicode_1BYTE_KIND: good = encode(static_cast<const Py_UCS1*>(data), size, text); break;
    case PyUnicode_2BYTE_KIND: good = encode(static_cast<const Py_UCS2*>(data), size, text); break;
    default: good = encode(static_cast<const Py_UCS4*>(data), size, text); break;
  }
  if (good == size) return true;
  return fault.is(fmt::format(
      "the str has half of a surrogate pair (U+{:04X}) at {}, for which UTF-8 has no form",
      static_cast<unsigned>(PyUnicode_READ_CHAR(str, static_cast<Py_ssize_t>(good))), good));
}

Reference make_text(std::string_view text, Fault& fault) {
  Reference str = Reference::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
  if (str) return str;
  const std::size_t good = utf8_length(text);
  if (good == text.size()) {
    fault.is(error_of_exception());
  } else {
    PyErr_Clear();
    fault.is(fmt::format("not UTF-8 at byte {}: bytes go as Bytes", good));
  }
  return {};
}

// ---- Python to Value ----

// False, with the fault, where something does not convert.
class FromPython {
 public:
  explicit FromPython(const ConversionOptions& options) : options_(options) {}

  // The types that nearly all objects have, by their addresses; what is left has longer.
  bool convert(PyObject* object, Value& value) {
    PyTypeObject* const type = Py_TYPE(object);
    if (type == &PyUnicode_Type) return convert_str(object, value);
    if (type == &PyLong_Type) return convert_int(object, value);
    if (object == Py_None) return true;
    if (type == &PyFloat_Type) return convert_float(object, value);
    if (type == &PyBool_Type) return value = object == Py_True, true;
    if (type == &PyDict_Type) return convert_dict(object, value);
    if (type == &PyList_Type) return convert_list(object, value);
    if (type == &PyTuple_Type) return convert_tuple(object, value);
    if (type == &PyBytes_Type) return convert_bytes(object, value);
    return convert_other(object, value);
  }

  [[nodiscard]] Error error() { return std::move(fault_).error(); }

 private:
  // The containers around what is being converted.
  struct Level {
    Level(FromPython& of, PyObject* its_object)
        : from(of),
          object(its_object),
          above(of.innermost_),
          depth(above != nullptr ? above->depth + 1 : 1) {
      from.innermost_ = this;
    }
    ~Level() { from.innermost_ = above; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

    FromPython& from;
    PyObject* object;
    const Level* above;
    std::size_t depth;
  };

  bool convert_str(PyObject* object, Value& value) {
    std::string text;
    if (!read_text(object, text, fault_)) return false;
    value = std::move(text);
    return true;
  }

  bool convert_int(PyObject* object, Value& value) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow == 0) return value = number, true;
    if (overflow > 0) {
      const unsigned long long beyond = PyLong_AsUnsignedLongLong(object);
      if (PyErr_Occurred() == nullptr) return value = beyond, true;
      PyErr_Clear();
    }
    if (!options_.big_integers_as_text) {
      return fault_.is("the int is beyond 64 bits; big_integers_as_text gives its digits");
    }
    const Reference digits = Reference::steal(PyNumber_ToBase(object, 10));
    if (digits) return convert_str(digits.get(), value);
    PyErr_Clear();
    return fault_.is("the int has more digits than sys.get_int_max_str_digits() allows");
  }

  bool convert_float(PyObject* object, Value& value) {
    value = PyFloat_AS_DOUBLE(object);
    return true;
  }

  bool convert_bytes(PyObject* object, Value& value) {
    value = Bytes{{PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object))}};
    return true;
  }

  bool convert_bytearray(PyObject* object, Value& value) {
    const Reference copy = Reference::steal(PyBytes_FromObject(object));
    return copy ? convert_bytes(copy.get(), value) : fault_.is(error_of_exception());
  }

  bool convert_list(PyObject* object, Value& value) {
    const Level level(*this, object);
    if (level.depth > max_depth) return refuse_depth();
    const Py_ssize_t size = PyList_GET_SIZE(object);
    Array array;
    array.reserve(static_cast<std::size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
      const Reference item = list_item(object, i);
      if (!item) return refuse_change("list");
      if (!convert(item.get(), array.emplace_back())) return fault_.in(static_cast<std::size_t>(i));
    }
    if (PyList_GET_SIZE(object) != size) return refuse_change("list");
    value = std::move(array);
    return true;
  }

  // Null where the list has become shorter.
  static Reference list_item(PyObject* list, Py_ssize_t index) {
#if PY_VERSION_HEX >= 0x030D0000
    Reference item = Reference::steal(PyList_GetItemRef(list, index));
    if (!item) PyErr_Clear();
    return item;
#else
    return Reference::borrow(index < PyList_GET_SIZE(list) ? PyList_GET_ITEM(list, index)
                                                           : nullptr);
#endif
  }

  bool convert_tuple(PyObject* object, Value& value) {
    const Level level(*this, object);
    if (level.depth > max_depth) return refuse_depth();
    const Py_ssize_t size = PyTuple_GET_SIZE(object);
    Array array;
    array.reserve(static_cast<std::size_t>(size));
    for (Py_ssize_t i = 0; i < size; ++i) {
      if (!convert(PyTuple_GET_ITEM(object, i), array.emplace_back())) {
        return fault_.in(static_cast<std::size_t>(i));
      }
    }
    value = options_.keep_tuples ? tagged(tuple_tag, std::move(array)) : Value(std::move(array));
    return true;
  }

  bool convert_dict(PyObject* object, Value& value) {
    const Level level(*this, object);
    if (level.depth > max_depth) return refuse_depth();
    const ObjectLock lock(object);
    const Py_ssize_t size = PyDict_GET_SIZE(object);
    Object converted;
    converted.reserve(static_cast<std::size_t>(size));
    bool plain_keys = true;
    Py_ssize_t position = 0;
    PyObject* key = nullptr;
    PyObject* item = nullptr;
    while (PyDict_Next(object, &position, &key, &item) != 0) {
      const Reference kept_key = Reference::borrow(key);
      const Reference kept_item = Reference::borrow(item);
      if (std::cmp_equal(converted.size(), size)) return refuse_change("dict");
      if (!PyUnicode_Check(key)) {
        return fault_.is(fmt::format("the dict has a key of type {}; keys are str", type_of(key)));
      }
      std::string name;
      if (!read_text(key, name, fault_)) return false;
      // Only a subclass of str can have two keys that read the same.
      plain_keys = plain_keys && PyUnicode_CheckExact(key);
      if (!plain_keys && converted.find(name) != nullptr) {
        return fault_.is(fmt::format("the dict has two keys that read {}", to_string(Value(name))));
      }
      Value entry;
      if (!convert(kept_item.get(), entry)) return fault_.in(name);
      converted.append(std::move(name), std::move(entry));
      if (PyDict_GET_SIZE(object) != size) return refuse_change("dict");
    }
    if (!std::cmp_equal(converted.size(), size)) return refuse_change("dict");
    if (size == 1 && is_tag(converted.begin()->first)) {
      return fault_.is(fmt::format("a dict with the one key \"{}\" would not come back as a dict",
                                   converted.begin()->first));
    }
    value = std::move(converted);
    return true;
  }

  // Whose type nobody knows by its address: converters before bases.
  bool convert_other(PyObject* object, Value& value) {
    if (options_.converters != nullptr) {
      const auto type = type_name(reinterpret_cast<PyObject*>(Py_TYPE(object)));
      if (const auto* converter = options_.converters->for_type(type)) {
        return convert_by(*converter, object, value);
      }
    }
    if (PyUnicode_Check(object)) return convert_str(object, value);
    if (PyLong_Check(object)) return convert_int(object, value);
    if (PyFloat_Check(object)) return convert_float(object, value);
    if (PyDict_Check(object)) return convert_dict(object, value);
    if (PyList_Check(object)) return convert_list(object, value);
    if (PyTuple_Check(object)) return convert_tuple(object, value);
    if (PyBytes_Check(object)) return convert_bytes(object, value);
    if (PyByteArray_Check(object)) return convert_bytearray(object, value);
    if (!options_.others_as_refs) {
      return fault_.is(fmt::format("a {} is no value, and has no converter", type_of(object)));
    }
    value = Ref::borrow(object);
    return true;
  }

  bool convert_by(const Converters::Converter& converter, PyObject* object, Value& value) {
    Result<Value> converted = converter.to_value(object);
    PyErr_Clear();  // Of a converter that forgot.
    if (!converted.ok()) return fault_.is(converted.error());
    value = converter.tag.empty() ? *std::move(converted)
                                  : tagged(converter.tag, *std::move(converted));
    return true;
  }

  static Value tagged(std::string_view tag, Value value) {
    Object object;
    object.append(std::string(tag), std::move(value));
    return object;
  }

  [[nodiscard]] bool is_tag(std::string_view key) const {
    return (options_.keep_tuples && key == tuple_tag) ||
           (options_.converters != nullptr && options_.converters->for_tag(key) != nullptr);
  }

  bool refuse_depth() {
    for (const Level* level = innermost_->above; level != nullptr; level = level->above) {
      if (level->object == innermost_->object) {
        return fault_.is(fmt::format("a {} that contains itself", type_of(level->object)));
      }
    }
    return fault_.is(too_deep());
  }

  bool refuse_change(std::string_view what) {
    return fault_.is(fmt::format("the {} changed while it was converted", what));
  }

  const ConversionOptions& options_;
  Fault fault_;
  const Level* innermost_ = nullptr;
};

// ---- Value to Python ----

// Null, with the fault, where something does not convert.
class ToPython {
 public:
  explicit ToPython(const ConversionOptions& options) : options_(options) {}

  Reference convert(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::null: return Reference::borrow(Py_None);
      case Value::Kind::boolean: return Reference::borrow(value.as_bool() ? Py_True : Py_False);
      case Value::Kind::integer: return checked(PyLong_FromLongLong(value.as_int64()));
      case Value::Kind::unsigned_integer:
        return checked(PyLong_FromUnsignedLongLong(value.as_uint64()));
      case Value::Kind::floating: return checked(PyFloat_FromDouble(value.as_double()));
      case Value::Kind::string: return make_text(value.as_string(), fault_);
      case Value::Kind::bytes: {
        const std::string& data = value.as_bytes().data;
        return checked(
            PyBytes_FromStringAndSize(data.data(), static_cast<Py_ssize_t>(data.size())));
      }
      case Value::Kind::array: return convert_array(value.as_array());
      case Value::Kind::object: return convert_object(value.as_object());
      case Value::Kind::ref: return convert_ref(value.as_ref());
    }
    unreachable();
  }

  [[nodiscard]] Error error() { return std::move(fault_).error(); }

 private:
  Reference checked(PyObject* made) {
    if (made == nullptr) fault_.is(error_of_exception());
    return Reference::steal(made);
  }

  Reference refused(std::string why) {
    fault_.is(std::move(why));
    return {};
  }

  Reference convert_array(const Array& array, bool as_tuple = false) {
    const DepthCount level(depth_);
    if (depth_ > max_depth) return refused(too_deep());
    const auto size = static_cast<Py_ssize_t>(array.size());
    Reference made = checked(as_tuple ? PyTuple_New(size) : PyList_New(size));
    for (Py_ssize_t i = 0; made && i < size; ++i) {
      Reference item = convert(array[static_cast<std::size_t>(i)]);
      if (!item) {
        fault_.in(static_cast<std::size_t>(i));
        return {};
      }
      as_tuple ? PyTuple_SET_ITEM(made.get(), i, item.release())
               : PyList_SET_ITEM(made.get(), i, item.release());
    }
    return made;
  }

  Reference convert_object(const Object& object) {
    if (object.size() == 1) {
      const auto& [key, inner] = *object.begin();
      if (options_.keep_tuples && key == tuple_tag && inner.is_array()) {
        return convert_array(inner.as_array(), true);
      }
      const auto* converter =
          options_.converters != nullptr ? options_.converters->for_tag(key) : nullptr;
      if (converter != nullptr) return convert_by(*converter, inner);
    }
    const DepthCount level(depth_);
    if (depth_ > max_depth) return refused(too_deep());
    Reference dict = checked(PyDict_New());
    if (!dict) return dict;
    for (const auto& [key, inner] : object) {
      const Reference name = make_text(key, fault_);
      const Reference item = name ? convert(inner) : Reference();
      if (!item) {
        fault_.in(key);
        return {};
      }
      if (PyDict_SetItem(dict.get(), name.get(), item.get()) < 0) return checked(nullptr);
    }
    return dict;
  }

  Reference convert_by(const Converters::Converter& converter, const Value& value) {
    Result<Reference> converted = converter.to_python(value);
    PyErr_Clear();  // Of a converter that forgot.
    if (converted.ok()) return *std::move(converted);
    fault_.is(converted.error());
    fault_.in(converter.tag);
    return {};
  }

  Reference convert_ref(const Ref& ref) {
    if (!ref) return refused("a Ref of nothing");
    if (PyObject* object = ref.get()) return Reference::borrow(object);
    fault_.is(Error{.code = Errc::wrong_interpreter,
                    .message = fmt::format("a Ref of interpreter {} can not enter interpreter {}",
                                           ref.interpreter_id(),
                                           PyInterpreterState_GetID(PyInterpreterState_Get()))});
    return {};
  }

  const ConversionOptions& options_;
  Fault fault_;
  std::size_t depth_ = 0;
};

// ---- The standard library's types ----

Error conversion_of_exception() {
  Error error = error_of_exception();
  error.code = Errc::conversion;
  return error;
}

Result<Value> value_of_new(PyObject* made) {
  const Reference object = Reference::steal(made);
  if (!object) return conversion_of_exception();
  return to_value(object.get(), {.others_as_refs = false});
}

// Of this interpreter, whichever it is.
Reference class_of(const char* module, const char* name) {
  const Reference found = Reference::steal(PyImport_ImportModule(module));
  return found ? Reference::steal(PyObject_GetAttrString(found.get(), name)) : Reference();
}

Result<Reference> reference_of_new(PyObject* made) {
  if (made == nullptr) return conversion_of_exception();
  return Reference::steal(made);
}

Error not_a_text(std::string_view of, const Value& value) {
  return {.code = Errc::conversion,
          .message = fmt::format("expected {} as a string, not {}", of, to_string(value.kind()))};
}

Converters::Converter by_isoformat(const char* name) {
  return {
      .type = fmt::format("datetime.{}", name),
      .tag = fmt::format("__{}__", name),
      .to_value =
          [](PyObject* o) { return value_of_new(PyObject_CallMethod(o, "isoformat", nullptr)); },
      .to_python = [name](const Value& value) -> Result<Reference> {
        if (!value.is_string()) return not_a_text(name, value);
        const Reference type = class_of("datetime", name);
        if (!type) return conversion_of_exception();
        return reference_of_new(
            PyObject_CallMethod(type.get(), "fromisoformat", "s#", value.as_string().data(),
                                static_cast<Py_ssize_t>(value.as_string().size())));
      }};
}

Converters::Converter by_str(const char* module, const char* name, const char* tag) {
  return {.type = fmt::format("{}.{}", module, name),
          .tag = tag,
          .to_value = [](PyObject* o) { return value_of_new(PyObject_Str(o)); },
          .to_python = [module, name](const Value& value) -> Result<Reference> {
            if (!value.is_string()) return not_a_text(name, value);
            const Reference type = class_of(module, name);
            if (!type) return conversion_of_exception();
            return reference_of_new(
                PyObject_CallFunction(type.get(), "s#", value.as_string().data(),
                                      static_cast<Py_ssize_t>(value.as_string().size())));
          }};
}

Result<Value> timedelta_to_value(PyObject* delta) {
  Array parts;
  for (const char* name : {"days", "seconds", "microseconds"}) {
    Result<Value> part = value_of_new(PyObject_GetAttrString(delta, name));
    if (!part.ok()) return part;
    parts.push_back(*std::move(part));
  }
  return Value(std::move(parts));
}

Result<Reference> timedelta_to_python(const Value& value) {
  const Array* parts = value.get_if<Array>();
  if (parts == nullptr || parts->size() != 3 || !std::ranges::all_of(*parts, &Value::is_int64)) {
    return Error{.code = Errc::conversion,
                 .message = "expected a timedelta as [days, seconds, microseconds], not " +
                            to_string(value)};
  }
  const Reference type = class_of("datetime", "timedelta");
  if (!type) return conversion_of_exception();
  const auto part = [&](std::size_t i) { return static_cast<long long>((*parts)[i].as_int64()); };
  return reference_of_new(PyObject_CallFunction(type.get(), "LLL", part(0), part(1), part(2)));
}

}  // namespace

Converters& Converters::add(Converter converter) {
  converters_.push_back(std::move(converter));
  return *this;
}

Converters Converters::standard() {
  Converters converters;
  for (const char* name : {"date", "time", "datetime"}) converters.add(by_isoformat(name));
  converters.add({.type = "datetime.timedelta",
                  .tag = "__timedelta__",
                  .to_value = timedelta_to_value,
                  .to_python = timedelta_to_python});
  converters.add(by_str("decimal", "Decimal", "__decimal__"));
  converters.add(by_str("uuid", "UUID", "__uuid__"));
  return converters;
}

const Converters::Converter* Converters::for_type(std::string_view type) const {
  const auto found = std::find_if(converters_.rbegin(), converters_.rend(),
                                  [&](const Converter& one) { return one.type == type; });
  return found != converters_.rend() ? &*found : nullptr;
}

const Converters::Converter* Converters::for_tag(std::string_view tag) const {
  if (tag.empty()) return nullptr;
  const auto found = std::find_if(converters_.rbegin(), converters_.rend(),
                                  [&](const Converter& one) { return one.tag == tag; });
  return found != converters_.rend() ? &*found : nullptr;
}

namespace {

const ConversionOptions default_options;
constinit std::atomic<const ConversionOptions*> exchange{&default_options};

}  // namespace

const ConversionOptions& exchange_options() { return *exchange.load(std::memory_order_acquire); }

void set_exchange_options(const ConversionOptions& options) {
  if (options == exchange_options()) return;
  struct Kept {
    Converters converters;
    ConversionOptions options;
  };
  // For good: somebody may be converting by what was set before.
  static std::mutex mutex;
  static auto& all = *new std::deque<Kept>;
  const std::lock_guard lock(mutex);
  Kept& kept = all.emplace_back(Kept{{}, options});
  if (options.converters != nullptr) {
    kept.converters = *options.converters;
    kept.options.converters = &kept.converters;
  }
  exchange.store(&kept.options, std::memory_order_release);
}

Result<Value> to_value(PyObject* object, const ConversionOptions& options) {
  FromPython conversion(options);
  Value value;
  if (!conversion.convert(object, value)) return conversion.error();
  return value;
}

Result<Reference> to_python(const Value& value, const ConversionOptions& options) {
  ToPython conversion(options);
  Reference object = conversion.convert(value);
  if (!object) return conversion.error();
  return object;
}

}  // namespace unirun::python
