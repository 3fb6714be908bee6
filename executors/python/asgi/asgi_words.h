// AsgiWords is the strings of ASGI as objects of Python's, made once for an interpreter.
//
// Thread: any that is attached to the interpreter. It lives as long as that.

#pragma once

#include "executors/python/python.h"
// Python.h first.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "executors/python/asgi/asgi_event.h"

namespace unirun::python {

// The keys of scopes and events, in the order of their names in asgi_words.cpp.
enum class AsgiWord : std::uint8_t {
  type,
  asgi,
  version,
  spec_version,
  http_version,
  method,
  scheme,
  path,
  raw_path,
  query_string,
  root_path,
  headers,
  client,
  server,
  subprotocols,
  extensions,
  state,
  body,
  more_body,
  status,
  text,
  bytes,
  code,
  reason,
  subprotocol,
  message,
  count,
};

class AsgiWords {
 public:
  // The one of the interpreter to which this thread is attached; null: an exception is set.
  [[nodiscard]] static AsgiWords* current();

  AsgiWords(const AsgiWords&) = delete;
  AsgiWords& operator=(const AsgiWords&) = delete;
  ~AsgiWords() = default;

  // Borrowed.
  [[nodiscard]] PyObject* operator[](AsgiWord word) const {
    return keys_[static_cast<std::size_t>(word)].get();
  }
  [[nodiscard]] PyObject* operator[](AsgiEvent::Type type) const {
    return types_[static_cast<std::size_t>(type)].get();
  }
  // What an application may send under that name. Nothing: no event; no exception is set.
  [[nodiscard]] std::optional<AsgiEvent::Type> type_named(PyObject* name) const;

  // make_ends(take, put): the `receive` and the `send` of a connection.
  [[nodiscard]] PyObject* make_ends() const { return make_ends_.get(); }

 private:
  static constexpr std::size_t event_types = 18;

  AsgiWords() = default;
  [[nodiscard]] bool fill();
  [[nodiscard]] static AsgiWords* of_this_interpreter();

  std::array<Reference, static_cast<std::size_t>(AsgiWord::count)> keys_;
  std::array<Reference, event_types> types_;
  Reference make_ends_;
};

}  // namespace unirun::python
