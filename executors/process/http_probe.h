// HttpProbe asks over plain HTTP/1.1: GET a path, and judge the status of the answer. The body is
// read to its end, so that no server logs a broken pipe, and thrown away; a long one is cut off.
//
// No TLS: a probe of one's own service goes to its own machine. `exec` with curl does the rest.
//
// Thread: the loop's.

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "executors/process/probe.h"
#include "executors/service_spec.h"

namespace unirun {

class HttpProbe final : public TcpProbe {
 public:
  // Errors: an address that is none, a path or a header that no request could hold.
  [[nodiscard]] static Result<std::unique_ptr<Probe>> make(EventLoop& loop, const HttpCheck& check);
  ~HttpProbe() override;

  void ask(Duration timeout, OnAnswer on_answer) override;

 private:
  class Answer;

  HttpProbe(EventLoop& loop, const HttpCheck& check);

  void on_open() override;
  void on_late(Duration timeout) override;
  void send();
  void receive();
  // The status is known; nothing if it is a good one.
  [[nodiscard]] std::optional<std::string> verdict() const;

  const HttpCheck check_;
  std::string request_;
  std::size_t sent_ = 0;
  std::unique_ptr<Answer> answer_;
};

}  // namespace unirun
