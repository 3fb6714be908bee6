#include <http_parser.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "host/control/http_message.h"

namespace unirun {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

// Calls `use` for each part of `text` between separators, empty ones left out.
template <class Use>
bool each_part(std::string_view text, char separator, Use use) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0 && !use(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

}  // namespace

Result<HttpTarget> parse_target(std::string_view target) {
  HttpTarget parts;
  const std::size_t mark = std::min(target.find('?'), target.size());
  const bool path_is_good = each_part(target.substr(0, mark), '/', [&](std::string_view segment) {
    std::optional<std::string> plain = unescape(segment);
    if (plain) parts.segments.push_back(std::move(*plain));
    return plain.has_value();
  });
  const std::string_view query = target.substr(std::min(mark + 1, target.size()));
  const bool query_is_good = each_part(query, '&', [&](std::string_view pair) {
    const std::size_t equals = std::min(pair.find('='), pair.size());
    std::optional<std::string> name = unescape(pair.substr(0, equals));
    std::optional<std::string> value = unescape(pair.substr(std::min(equals + 1, pair.size())));
    if (!name || !value) return false;
    parts.query[*name] = *value;
    return true;
  });
  if (!path_is_good || !query_is_good) {
    return Error{Errc::invalid_argument,
                 "the target \"" + std::string(target) + "\" has a '%' without two hex digits"};
  }
  return parts;
}

struct HttpReader::Impl {
  http_parser parser{};
  http_parser_settings settings{};
  Limits limits;
  http_parser_type type;
  HttpMessage message;
  std::string field, value;  // Of the header that is being read.
  std::size_t head_bytes = 0;
  bool in_value = false;
  bool started = false, head_complete = false, complete = false, too_large = false;
  std::function<void(std::string_view)> on_body;

  Impl(http_parser_type type_, Limits limits_) : limits(limits_), type(type_) {
    http_parser_settings_init(&settings);
    settings.on_url = [](http_parser* p, const char* at, size_t n) {
      return self(p).head(self(p).message.target, at, n);
    };
    settings.on_header_field = [](http_parser* p, const char* at, size_t n) {
      if (self(p).in_value) self(p).end_header();
      return self(p).head(self(p).field, at, n);
    };
    settings.on_header_value = [](http_parser* p, const char* at, size_t n) {
      self(p).in_value = true;  // Also for an empty one.
      return self(p).head(self(p).value, at, n);
    };
    settings.on_headers_complete = [](http_parser* p) { return self(p).end_head(); };
    settings.on_body = [](http_parser* p, const char* at, size_t n) { return self(p).body(at, n); };
    settings.on_message_complete = [](http_parser* p) {
      self(p).complete = true;
      http_parser_pause(p, 1);  // What follows belongs to the next message.
      return 0;
    };
    reset();
  }

  static Impl& self(http_parser* p) { return *static_cast<Impl*>(p->data); }

  void reset() {
    http_parser_init(&parser, type);
    parser.data = this;
    message = {};
    head_bytes = 0;
    in_value = false;
    started = head_complete = complete = false;
  }

  int head(std::string& part, const char* at, size_t n) {
    head_bytes += n;
    too_large = head_bytes > limits.max_head;
    if (!too_large) part.append(at, n);
    return too_large ? 1 : 0;
  }

  void end_header() {
    in_value = false;
    if (field.empty()) return;
    std::transform(field.begin(), field.end(), field.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    message.headers[std::exchange(field, {})] = std::exchange(value, {});
  }

  int end_head() {
    end_header();
    head_complete = true;
    message.keep_alive = http_should_keep_alive(&parser) != 0;
    message.status = static_cast<int>(parser.status_code);
    if (type == HTTP_REQUEST) {
      message.method = http_method_str(static_cast<http_method>(parser.method));
    }
    return 0;
  }

  int body(const char* at, size_t n) {
    if (on_body) {
      on_body({at, n});
      return 0;
    }
    too_large = message.body.size() + n > limits.max_body;
    if (!too_large) message.body.append(at, n);
    return too_large ? 1 : 0;
  }
};

HttpReader::HttpReader(Kind kind, Limits limits)
    : impl_(std::make_unique<Impl>(kind == Kind::request ? HTTP_REQUEST : HTTP_RESPONSE, limits)) {}
HttpReader::~HttpReader() = default;

Result<std::size_t> HttpReader::feed(std::string_view bytes) {
  UNIRUN_REQUIRE(!impl_->complete);
  impl_->started = impl_->started || !bytes.empty();
  const std::size_t taken =
      http_parser_execute(&impl_->parser, &impl_->settings, bytes.data(), bytes.size());
  if (impl_->complete) return taken;
  if (impl_->too_large) {
    return Error{Errc::invalid_argument, "larger than " + std::to_string(impl_->limits.max_head) +
                                             " bytes of head or " +
                                             std::to_string(impl_->limits.max_body) + " of body"};
  }
  const auto fault = static_cast<http_errno>(impl_->parser.http_errno);
  if (fault != HPE_OK) {
    return Error{Errc::invalid_argument, std::string("no HTTP: ") + http_errno_description(fault)};
  }
  if (impl_->parser.upgrade) return Error{Errc::unsupported, "this socket speaks HTTP/1.1 only"};
  return taken;
}

void HttpReader::end_of_input() {
  if (impl_->complete) return;
  http_parser_execute(&impl_->parser, &impl_->settings, nullptr, 0);
}

bool HttpReader::started() const { return impl_->started; }
bool HttpReader::head_complete() const { return impl_->head_complete; }
bool HttpReader::complete() const { return impl_->complete; }
const HttpMessage& HttpReader::peek() const { return impl_->message; }

HttpMessage HttpReader::take() {
  UNIRUN_REQUIRE(impl_->complete);
  HttpMessage message = std::move(impl_->message);
  impl_->reset();
  return message;
}

void HttpReader::on_body(std::function<void(std::string_view)> sink) {
  impl_->on_body = std::move(sink);
}

std::string_view http_reason(int status) {
  return http_status_str(static_cast<http_status>(status));
}

}  // namespace unirun
