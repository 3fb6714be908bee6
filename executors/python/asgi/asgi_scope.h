// Scope is what an ASGI application is told of a connection before anything is said on it.
//
// Thread: any. A value.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "executors/python/values/value.h"

namespace unirun::python {

// Names and values as they came, in their order, one name more than once if need be.
using AsgiHeaders = std::vector<std::pair<Bytes, Bytes>>;

struct AsgiAddress {
  std::string host;
  std::uint16_t port = 0;
};

struct Scope {
  enum class Type : std::uint8_t { http, websocket };

  Type type = Type::http;
  std::string http_version = "1.1";
  std::string method = "GET";       // In capitals. Of a websocket: nothing.
  std::string scheme{};             // Empty: "http", or "ws".
  std::string path = "/";           // Unquoted, in UTF-8.
  std::optional<Bytes> raw_path{};  // As it came; nothing: the application is not told.
  Bytes query_string{};             // As it came, behind the "?".
  std::string root_path{};          // Where the application is mounted.
  AsgiHeaders headers{};            // Names are given to the application in small letters.
  std::optional<AsgiAddress> client{};
  std::optional<AsgiAddress> server{};
  std::vector<std::string> subprotocols{};  // Of a websocket: those that the client offers.
  Object extensions{};                      // What the server can do besides, by name.
};

}  // namespace unirun::python
