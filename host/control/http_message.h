// HttpMessage and its reader: HTTP/1.1 as both ends of the control socket need it. The grammar is
// http-parser's (http_reader.cpp alone knows it); what is ours are the limits.
//
// Thread: its owner's.

#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/result.h"

namespace unirun {

struct HttpMessage {
  std::string method;                          // Of a request: "GET"
  std::string target;                          // Of a request, as sent: "/v1/logs/a%20b?tail=5"
  int status = 0;                              // Of a response.
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;
  bool keep_alive = true;  // The sender would go on with this connection.
};

// "/v1/logs/a%20b?tail=5" taken apart; nothing if an escape in it is broken.
struct HttpTarget {
  std::vector<std::string> segments;  // "v1", "logs", "a b"
  std::map<std::string, std::string> query;
};
[[nodiscard]] Result<HttpTarget> parse_target(std::string_view target);

class HttpReader {
 public:
  enum class Kind { request, response };
  struct Limits {
    std::size_t max_head = 16 << 10;  // Bytes of target and headers.
    std::size_t max_body = 1 << 20;   // Bytes; not for bodies that on_body takes.
  };

  HttpReader(Kind kind, Limits limits);
  ~HttpReader();
  HttpReader(const HttpReader&) = delete;
  HttpReader& operator=(const HttpReader&) = delete;

  // Takes what it can and says how much; stops behind a whole message. Errors: invalid_argument for
  // what is no HTTP or is too large. REQUIRES: no earlier error, !complete().
  [[nodiscard]] Result<std::size_t> feed(std::string_view bytes);

  // The sender has closed: ends a response whose body goes on until then.
  void end_of_input();

  [[nodiscard]] bool started() const;        // A first byte has come.
  [[nodiscard]] bool head_complete() const;  // peek() has all but the body.
  [[nodiscard]] bool complete() const;
  [[nodiscard]] const HttpMessage& peek() const;

  // The message; the reader is ready for the next one. REQUIRES: complete().
  [[nodiscard]] HttpMessage take();

  // Gets the body as it comes, in place of HttpMessage::body. For streams.
  void on_body(std::function<void(std::string_view)> sink);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The words that belong to a status: "Not Found".
[[nodiscard]] std::string_view http_reason(int status);

}  // namespace unirun
