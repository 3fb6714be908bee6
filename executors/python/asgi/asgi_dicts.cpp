#include "executors/python/asgi/asgi_dicts.h"

#include <algorithm>
#include <array>
#include <climits>
#include <string_view>

#include "executors/python/values/conversion.h"
#include "executors/python/values/exception_text.h"

namespace unirun::python {
namespace {

using Word = AsgiWord;
using Type = AsgiEvent::Type;

constexpr const char* asgi_version = "3.0";
constexpr const char* http_spec_version = "2.4";
constexpr const char* lifespan_spec_version = "2.0";

// ---- To Python ----

Reference text_object(std::string_view text) {
  return Reference::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

Reference bytes_object(std::string_view bytes) {
  return Reference::steal(
      PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size())));
}

// In small letters, which is all that ASCII knows of.
Reference name_object(std::string_view name) {
  Reference object = bytes_object(name);
  if (!object) return object;
  char* const letters = PyBytes_AS_STRING(object.get());
  std::transform(letters, letters + name.size(), letters, [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return object;
}

// A dict that is being made. Once something has failed an exception is set, and nothing is added.
class Dict {
 public:
  explicit Dict(const AsgiWords& words) : words_(words), dict_(Reference::steal(PyDict_New())) {}

  void add(Word key, const Reference& object) {
    if (!object || (dict_ && PyDict_SetItem(dict_.get(), words_[key], object.get()) != 0))
      dict_ = {};
  }
  void text(Word key, std::string_view text) {
    if (dict_) add(key, text_object(text));
  }
  void bytes(Word key, std::string_view bytes) {
    if (dict_) add(key, bytes_object(bytes));
  }
  void number(Word key, int number) {
    if (dict_) add(key, Reference::steal(PyLong_FromLong(number)));
  }
  void flag(Word key, bool flag) {
    if (dict_) add(key, Reference::borrow(flag ? Py_True : Py_False));
  }
  void type(Type type) {
    if (dict_) add(Word::type, Reference::borrow(words_[type]));
  }
  template <class Make>
  void object(Word key, Make make) {
    if (dict_) add(key, make());
  }

  [[nodiscard]] Reference take() { return std::move(dict_); }

 private:
  const AsgiWords& words_;
  Reference dict_;
};

Reference versions(const char* spec_version) {
  return Reference::steal(
      Py_BuildValue("{s:s,s:s}", "version", asgi_version, "spec_version", spec_version));
}

template <class Items, class Make>
Reference list_of(const Items& items, Make make) {
  Reference list = Reference::steal(PyList_New(static_cast<Py_ssize_t>(items.size())));
  Py_ssize_t at = 0;
  for (const auto& item : items) {
    Reference object = list ? make(item) : Reference();
    if (!object) return {};
    PyList_SET_ITEM(list.get(), at++, object.release());
  }
  return list;
}

Reference header_list(const AsgiHeaders& headers) {
  return list_of(headers, [](const auto& header) -> Reference {
    const Reference name = name_object(header.first.data);
    const Reference value = bytes_object(header.second.data);
    if (!name || !value) return {};
    return Reference::steal(PyTuple_Pack(2, name.get(), value.get()));
  });
}

Reference address(const std::optional<AsgiAddress>& of) {
  if (!of) return Reference::borrow(Py_None);
  const Reference host = text_object(of->host);
  return host ? Reference::steal(Py_BuildValue("(Oi)", host.get(), static_cast<int>(of->port)))
              : Reference();
}

Reference extensions(const Scope& scope) {
  auto object = to_python(Value(scope.extensions));
  if (!object.ok()) {
    raise_error(object.error());
    return {};
  }
  if (scope.type != Scope::Type::websocket) return std::move(*object);
  const Reference nothing = Reference::steal(PyDict_New());
  if (!nothing ||
      PyDict_SetItemString(object->get(), "websocket.http.response", nothing.get()) != 0)
    return {};
  return std::move(*object);
}

// ---- From Python ----

// What an application sends, key by key. Once something is wrong an exception is set.
class DictReader {
 public:
  DictReader(const AsgiWords& words, PyObject* dict, Type type)
      : words_(words), dict_(dict), type_(to_string(type)) {}

  [[nodiscard]] bool is_good() const { return is_good_; }

  // Borrowed; null: there is none, or it is None.
  [[nodiscard]] PyObject* find(Word key) {
    if (!is_good_) return nullptr;
    PyObject* const found = PyDict_GetItemWithError(dict_, words_[key]);
    if (found == nullptr && PyErr_Occurred() != nullptr) is_good_ = false;
    return found == Py_None ? nullptr : found;
  }
  void wrong_type(Word key, const char* wanted, PyObject* got) {
    PyErr_Format(PyExc_TypeError, "'%s': '%U' has to be %s, not '%.100s'", type_.data(),
                 words_[key], wanted, Py_TYPE(got)->tp_name);
    is_good_ = false;
  }
  void wrong_value(const char* what) {
    PyErr_Format(PyExc_ValueError, "'%s': %s", type_.data(), what);
    is_good_ = false;
  }

  [[nodiscard]] std::optional<int> number(Word key) {
    PyObject* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (!PyLong_Check(found)) return wrong_type(key, "an int", found), std::nullopt;
    int overflow = 0;
    const long value = PyLong_AsLongAndOverflow(found, &overflow);
    if (overflow == 0 && value >= INT_MIN && value <= INT_MAX) return static_cast<int>(value);
    return wrong_value("a number is out of range"), std::nullopt;
  }
  [[nodiscard]] bool flag(Word key) {
    PyObject* const found = find(key);
    const int answer = found != nullptr ? PyObject_IsTrue(found) : 0;
    if (answer < 0) is_good_ = false;
    return answer > 0;
  }
  [[nodiscard]] std::optional<std::string> text(Word key) {
    PyObject* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (!PyUnicode_Check(found)) return wrong_type(key, "a str", found), std::nullopt;
    Py_ssize_t size = 0;
    const char* const data = PyUnicode_AsUTF8AndSize(found, &size);
    if (data != nullptr) return std::string(data, static_cast<std::size_t>(size));
    is_good_ = false;
    return std::nullopt;
  }
  [[nodiscard]] std::optional<Bytes> bytes(Word key) {
    PyObject* const found = find(key);
    if (found == nullptr) return std::nullopt;
    if (PyBytes_Check(found)) return bytes_of(found);
    Py_buffer view;
    if (PyObject_CheckBuffer(found) == 0 ||
        PyObject_GetBuffer(found, &view, PyBUF_CONTIG_RO) != 0) {
      PyErr_Clear();
      return wrong_type(key, "bytes", found), std::nullopt;
    }
    Bytes copy{std::string(static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len))};
    PyBuffer_Release(&view);
    return copy;
  }
  // Any iterable of pairs.
  [[nodiscard]] AsgiHeaders headers() {
    PyObject* const found = find(Word::headers);
    if (found == nullptr) return {};
    constexpr const char* wanted = "an iterable of pairs of bytes";
    AsgiHeaders all;
    const Reference list = Reference::steal(PySequence_Fast(found, wanted));
    if (!list) return PyErr_Clear(), wrong_type(Word::headers, wanted, found), AsgiHeaders();
    for (Py_ssize_t at = 0; at < PySequence_Fast_GET_SIZE(list.get()); ++at) {
      PyObject* const item = PySequence_Fast_GET_ITEM(list.get(), at);
      const Reference pair = Reference::steal(PySequence_Fast(item, wanted));
      if (!pair || PySequence_Fast_GET_SIZE(pair.get()) != 2)
        return PyErr_Clear(), wrong_type(Word::headers, wanted, item), AsgiHeaders();
      PyObject* const* const both = PySequence_Fast_ITEMS(pair.get());
      for (PyObject* const one : {both[0], both[1]}) {
        if (!PyBytes_Check(one))
          return wrong_type(Word::headers, "of bytes alone", one), AsgiHeaders();
      }
      all.emplace_back(bytes_of(both[0]), bytes_of(both[1]));
    }
    return all;
  }

 private:
  [[nodiscard]] static Bytes bytes_of(PyObject* bytes) {
    return {
        std::string(PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes)))};
  }

  const AsgiWords& words_;
  PyObject* dict_;
  std::string_view type_;  // Ends in a NUL.
  bool is_good_ = true;
};

void read_start(DictReader& reader, AsgiEvent& event) {
  const auto status = reader.number(Word::status);
  if (reader.is_good() && (!status || *status < 100 || *status > 999))
    return reader.wrong_value("'status' has to be there, a number from 100 to 999");
  event.status = status.value_or(0);
  event.headers = reader.headers();
}

void read_body(DictReader& reader, AsgiEvent& event) {
  event.body = reader.bytes(Word::body).value_or(Bytes());
  event.more_body = reader.flag(Word::more_body);
}

void read_frame(DictReader& reader, AsgiEvent& event) {
  event.text = reader.text(Word::text);
  event.bytes = reader.bytes(Word::bytes);
  if (reader.is_good() && event.text.has_value() == event.bytes.has_value())
    reader.wrong_value("either 'text' or 'bytes' has to be there");
}

void read(DictReader& reader, AsgiEvent& event) {
  switch (event.type) {
    case Type::http_response_start:
    case Type::websocket_http_response_start: return read_start(reader, event);
    case Type::http_response_body:
    case Type::websocket_http_response_body: return read_body(reader, event);
    case Type::websocket_accept:
      event.subprotocol = reader.text(Word::subprotocol);
      event.headers = reader.headers();
      return;
    case Type::websocket_send: return read_frame(reader, event);
    case Type::websocket_close:
      event.code = reader.number(Word::code).value_or(1000);
      event.reason = reader.text(Word::reason).value_or("");
      return;
    case Type::lifespan_startup_failed:
    case Type::lifespan_shutdown_failed:
      event.reason = reader.text(Word::message).value_or("");
      return;
    default: return;
  }
}

}  // namespace

// ---- Scopes ----

Reference scope_dict(const AsgiWords& words, const Scope& scope, PyObject* state) {
  const bool is_http = scope.type == Scope::Type::http;
  Dict dict(words);
  dict.text(Word::type, is_http ? "http" : "websocket");
  dict.object(Word::asgi, [] { return versions(http_spec_version); });
  dict.text(Word::http_version, scope.http_version);
  if (is_http) dict.text(Word::method, scope.method);
  dict.text(Word::scheme, !scope.scheme.empty() ? scope.scheme : is_http ? "http" : "ws");
  dict.text(Word::path, scope.path);
  if (scope.raw_path) dict.bytes(Word::raw_path, scope.raw_path->data);
  dict.bytes(Word::query_string, scope.query_string.data);
  dict.text(Word::root_path, scope.root_path);
  dict.object(Word::headers, [&] { return header_list(scope.headers); });
  dict.object(Word::client, [&] { return address(scope.client); });
  dict.object(Word::server, [&] { return address(scope.server); });
  if (!is_http)
    dict.object(Word::subprotocols, [&] { return list_of(scope.subprotocols, text_object); });
  if (!is_http || !scope.extensions.empty())
    dict.object(Word::extensions, [&] { return extensions(scope); });
  if (state != nullptr)
    dict.object(Word::state, [=] { return Reference::steal(PyDict_Copy(state)); });
  return dict.take();
}

Reference lifespan_dict(const AsgiWords& words, PyObject* state) {
  Dict dict(words);
  dict.text(Word::type, "lifespan");
  dict.object(Word::asgi, [] { return versions(lifespan_spec_version); });
  dict.object(Word::state, [=] { return Reference::borrow(state); });
  return dict.take();
}

// ---- Events ----

Reference event_dict(const AsgiWords& words, const AsgiEvent& event) {
  Dict dict(words);
  dict.type(event.type);
  switch (event.type) {
    case Type::http_request:
      dict.bytes(Word::body, event.body.data);
      dict.flag(Word::more_body, event.more_body);
      break;
    case Type::websocket_receive:
      if (event.text) dict.text(Word::text, *event.text);
      if (event.bytes) dict.bytes(Word::bytes, event.bytes->data);
      break;
    case Type::websocket_disconnect:
      dict.number(Word::code, event.code);
      dict.text(Word::reason, event.reason);
      break;
    default: break;
  }
  return dict.take();
}

std::optional<AsgiEvent> event_of(const AsgiWords& words, PyObject* dict) {
  if (!PyDict_Check(dict)) {
    PyErr_Format(PyExc_TypeError, "send(): an event is a dict, not '%.100s'",
                 Py_TYPE(dict)->tp_name);
    return std::nullopt;
  }
  const ObjectLock lock(dict);
  PyObject* const name = PyDict_GetItemWithError(dict, words[Word::type]);
  if (name == nullptr && PyErr_Occurred() != nullptr) return std::nullopt;
  if (name == nullptr || !PyUnicode_Check(name)) {
    PyErr_SetString(PyExc_TypeError, "send(): an event has its name, a str, under 'type'");
    return std::nullopt;
  }
  const auto type = words.type_named(name);
  if (!type) {
    PyErr_Format(PyExc_ValueError, "send(): %R is no event that an application sends", name);
    return std::nullopt;
  }
  AsgiEvent event{.type = *type};
  DictReader reader(words, dict, *type);
  read(reader, event);
  if (!reader.is_good()) return std::nullopt;
  return event;
}

}  // namespace unirun::python
