// GatheredReply is several answers that become one, when the last has come. Those who are to answer
// hold it; it replies when the last of them lets go of it.
//
// Thread: the loop's.

#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "host/host_handle.h"

namespace unirun {

class GatheredReply {
 public:
  GatheredReply(HostHandle::Reply reply, nlohmann::json answer)
      : answer_(std::move(answer)), reply_(std::move(reply)) {}
  ~GatheredReply() {
    if (failed_) {
      reply_(*failed_);
    } else if (waiting_ > 0) {
      reply_(Error{Errc::cancelled, "the host ended before this was done"});
    } else {
      reply_(std::move(answer_));
    }
  }
  GatheredReply(const GatheredReply&) = delete;
  GatheredReply& operator=(const GatheredReply&) = delete;

  // One more answer is to come; then it has come.
  void expect() { ++waiting_; }
  nlohmann::json& succeed() {
    --waiting_;
    return answer_;
  }
  void fail(Error error) {  // The first one is told.
    --waiting_;
    if (!failed_) failed_ = std::move(error);
  }

 private:
  nlohmann::json answer_;
  HostHandle::Reply reply_;
  std::size_t waiting_ = 0;
  std::optional<Error> failed_;
};

}  // namespace unirun
