#include "executors/process/http_probe.h"

#include <fmt/format.h>
#include <http_parser.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace unirun {
namespace {

// Of an answer. The parser bounds the head by itself, to 80 KiB.
constexpr std::size_t max_answer = std::size_t{256} << 10;

bool is_visible(char c) { return c > ' ' && c < '\x7f'; }

bool is_token(std::string_view name) {
  constexpr std::string_view separators = "()<>@,;:\\\"/[]?={}";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return is_visible(c) && separators.find(c) == std::string_view::npos;
  });
}

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

Error refused(std::string message) {
  return {Errc::start_failed, "http probe: " + std::move(message)};
}

Status judge(const HttpCheck& check) {
  if (check.address.find("://") != std::string::npos) {
    return refused(fmt::format(
        "'{}' is a URL; give address, port and path. For https use exec with curl: "
        "{{\"kind\": \"exec\", \"command\": [\"curl\", \"-fsS\", \"-o\", \"/dev/null\", URL]}}",
        check.address));
  }
  if (check.path.empty() || check.path[0] != '/' ||
      !std::all_of(check.path.begin(), check.path.end(), is_visible)) {
    return refused(
        fmt::format("'{}' is no path: it begins with '/' and has no blanks", check.path));
  }
  for (const auto& [name, value] : check.headers) {
    if (!is_token(name)) return refused(fmt::format("'{}' is no name of a header", name));
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      return refused(fmt::format("the header {} holds a line break", name));
    }
  }
  return {};
}

std::string request_of(const HttpCheck& check, const std::string& host) {
  std::string text = "GET " + check.path + " HTTP/1.1\r\n";
  const auto add = [&](std::string_view name, std::string_view value) {
    text += fmt::format("{}: {}\r\n", name, value);
  };
  const auto own = [&](std::string_view name) {
    return std::any_of(check.headers.begin(), check.headers.end(),
                       [&](const auto& header) { return same_word(header.first, name); });
  };
  if (!own("Host")) add("Host", host);
  if (!own("User-Agent")) add("User-Agent", "unirun");
  if (!own("Connection")) add("Connection", "close");
  for (const auto& [name, value] : check.headers) add(name, value);
  return text + "\r\n";
}

}  // namespace

// What has come so far. An answer of 1xx only announces another.
class HttpProbe::Answer {
 public:
  Answer() {
    http_parser_settings_init(&settings_);
    settings_.on_headers_complete = [](http_parser* parser) {
      if (parser->status_code >= 200) self(parser).status_ = parser->status_code;
      return 0;
    };
    settings_.on_message_complete = [](http_parser* parser) {
      self(parser).complete_ = self(parser).status_ > 0;
      return 0;
    };
    http_parser_init(&parser_, HTTP_RESPONSE);
    parser_.data = this;
  }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  // Nothing at all is the end of the input.
  void feed(std::string_view bytes) {
    size_ += bytes.size();
    const std::size_t taken = http_parser_execute(&parser_, &settings_, bytes.data(), bytes.size());
    if (complete_) return;
    garbage_ = taken != bytes.size() || HTTP_PARSER_ERRNO(&parser_) != HPE_OK;
    complete_ = garbage_ || bytes.empty() || size_ > max_answer;
  }

  [[nodiscard]] unsigned status() const { return status_; }  // 0: none has come.
  [[nodiscard]] bool complete() const { return complete_; }  // More will change nothing.
  [[nodiscard]] bool garbage() const { return garbage_; }

 private:
  static Answer& self(http_parser* parser) { return *static_cast<Answer*>(parser->data); }

  http_parser parser_{};
  http_parser_settings settings_{};
  std::size_t size_ = 0;
  unsigned status_ = 0;
  bool complete_ = false, garbage_ = false;
};

Result<std::unique_ptr<Probe>> HttpProbe::make(EventLoop& loop, const HttpCheck& check) {
  if (const Status sound = judge(check); !sound) return sound.error();
  std::unique_ptr<HttpProbe> probe(new HttpProbe(loop, check));
  if (const Status set = probe->set_address(check.address, check.port); !set) return set.error();
  probe->request_ = request_of(check, probe->name());
  return std::unique_ptr<Probe>(std::move(probe));
}

HttpProbe::HttpProbe(EventLoop& loop, const HttpCheck& check)
    : TcpProbe(loop, "http"), check_(check) {}
HttpProbe::~HttpProbe() = default;

void HttpProbe::ask(Duration timeout, OnAnswer on_answer) {
  sent_ = 0;
  answer_ = std::make_unique<Answer>();
  TcpProbe::ask(timeout, std::move(on_answer));
}

void HttpProbe::on_open() {
  wait_for(Interest::writable, [this] { send(); });
}

void HttpProbe::send() {
  const ssize_t count = ::send(socket(), request_.data() + sent_, request_.size() - sent_,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count < 0) return answer(failure(std::strerror(errno)));
  sent_ += static_cast<std::size_t>(count);
  if (sent_ == request_.size()) wait_for(Interest::readable, [this] { receive(); });
}

void HttpProbe::receive() {
  char bytes[16384];
  const ssize_t count = ::recv(socket(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // Whoever resets the connection behind a whole head has said what there is to say.
  if (count < 0 && answer_->status() == 0) return answer(failure(std::strerror(errno)));
  answer_->feed({bytes, static_cast<std::size_t>(std::max<ssize_t>(count, 0))});
  if (!answer_->complete()) return;
  if (answer_->status() > 0) return answer(verdict());
  answer(failure(answer_->garbage() && count > 0 ? "what answers there does not speak HTTP/1"
                                                 : "closed without an answer"));
}

// A body that does not end says no less than its head.
void HttpProbe::on_late(Duration timeout) {
  if (answer_->status() > 0) return answer(verdict());
  TcpProbe::on_late(timeout);
}

std::optional<std::string> HttpProbe::verdict() const {
  const unsigned status = answer_->status();
  if (status >= check_.status_from && status <= check_.status_to) return std::nullopt;
  const std::string expected = check_.status_from == check_.status_to
                                   ? std::to_string(check_.status_from)
                                   : fmt::format("{} to {}", check_.status_from, check_.status_to);
  return failure(fmt::format("GET {} answered {}, not {}", check_.path, status, expected));
}

}  // namespace unirun
