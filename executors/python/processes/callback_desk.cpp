#include "executors/python/processes/callback_desk.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "executors/python/processes/function_calls.h"
#include "executors/python/processes/worker_process.h"
#include "framework/doorbell.h"

namespace unirun::python {

// ---- Descriptors ----

namespace {

// A descriptor goes with a byte.
struct Envelope {
  Envelope() {
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  char byte = 0;
  iovec vector{&byte, 1};
  msghdr header{};
};

}  // namespace

bool send_descriptor(int socket, int descriptor) {
  Envelope envelope;
  cmsghdr* const item = CMSG_FIRSTHDR(&envelope.header);
  item->cmsg_level = SOL_SOCKET;
  item->cmsg_type = SCM_RIGHTS;
  item->cmsg_len = CMSG_LEN(sizeof descriptor);
  std::memcpy(CMSG_DATA(item), &descriptor, sizeof descriptor);
  ssize_t count = 0;
  do {
    count = ::sendmsg(socket, &envelope.header, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

Received receive_descriptor(int socket) {
  Received received;
  Envelope envelope;
  ssize_t count = 0;
  do {
    count = ::recvmsg(socket, &envelope.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  received.is_closed = count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
  const cmsghdr* const item = count == 1 ? CMSG_FIRSTHDR(&envelope.header) : nullptr;
  if (item != nullptr && item->cmsg_type == SCM_RIGHTS)
    std::memcpy(&received.descriptor, CMSG_DATA(item), sizeof received.descriptor);
  return received;
}

// ---- Answers that come later ----

// The way back to the loop, for answers on whatever thread: closed once the desk is.
class CallbackDesk::Way {
 public:
  Way(EventLoop& loop, Answerer answerer) : loop_(&loop), answerer_(std::move(answerer)) {}

  void answer(const std::shared_ptr<Way>& self, std::uint64_t id, Result<Value> outcome) {
    auto shared = std::make_shared<Result<Value>>(std::move(outcome));
    const std::lock_guard lock(mutex_);
    if (loop_ == nullptr) return;
    loop_->post([self, id, shared] {
      if (self->is_open()) self->answerer_(id, std::move(*shared));
    });
  }
  void close() {
    const std::lock_guard lock(mutex_);
    loop_ = nullptr;
  }

 private:
  [[nodiscard]] bool is_open() {
    const std::lock_guard lock(mutex_);
    return loop_ != nullptr;
  }

  std::mutex mutex_;  // Guards the next.
  EventLoop* loop_;
  const Answerer answerer_;
};

class CallbackDesk::Reply final : public Continuation {
 public:
  Reply(Shared<Outcome<Value>> call, std::shared_ptr<Way> way, std::uint64_t id)
      : call_(std::move(call)), way_(std::move(way)), id_(id) {}
  std::unique_ptr<Continuation> run() noexcept override {
    way_->answer(way_, id_, for_elsewhere(call_->take_outcome()));
    return nullptr;
  }

 private:
  const Shared<Outcome<Value>> call_;
  const std::shared_ptr<Way> way_;
  const std::uint64_t id_;
};

// A thread that calls functions On::caller for those who await them, one after another, as the loop
// of coroutines that awaits does where there is no other process.
class CallbackDesk::Callers {
 public:
  [[nodiscard]] static std::shared_ptr<Callers> start(CallbackThreads& threads) {
    const auto callers = std::make_shared<Callers>();
    return threads.start([callers] { callers->live(); }) ? callers : nullptr;
  }

  void push(std::function<void()> call) {
    {
      const std::lock_guard lock(mutex_);
      calls_.push_back(std::move(call));
    }
    bell_.ring();
  }
  void close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
      calls_.clear();
    }
    bell_.ring();
  }

 private:
  void live() {
    for (;;) {
      std::function<void()> call;
      static_cast<void>(bell_.wait(Duration::max(), [this] {
        const std::lock_guard lock(mutex_);
        return is_closed_ || !calls_.empty();
      }));
      {
        const std::lock_guard lock(mutex_);
        if (is_closed_) return;
        call = std::move(calls_.front());
        calls_.pop_front();
      }
      call();
    }
  }

  std::mutex mutex_;  // Guards the next two.
  std::deque<std::function<void()>> calls_;
  bool is_closed_ = false;
  Doorbell bell_;
};

// ---- The desk ----

CallbackDesk::CallbackDesk(EventLoop& loop, CallbackThreads& threads, int socket, Answerer answerer)
    : loop_(loop),
      threads_(threads),
      socket_(socket),
      way_(std::make_shared<Way>(loop, std::move(answerer))) {
  watch_ = loop_.watch(socket_, Interest::readable, [this](Interest) { accept(); });
}

void CallbackDesk::end() {
  watch_.reset();
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  way_->close();
  for (const auto& one : lines_) {
    if (const auto line = one.lock()) line->close();
  }
  if (callers_ != nullptr) callers_->close();
  process_->end();
}

void CallbackDesk::accept() {
  std::erase_if(lines_, [](const auto& line) { return line.expired(); });
  for (;;) {
    const Received received = receive_descriptor(socket_);
    if (received.is_closed) return watch_.reset();
    if (received.descriptor < 0) return;
    if (const auto line = CallbackLine::start(threads_, received.descriptor, process_))
      lines_.push_back(line);
  }
}

void CallbackDesk::take(std::uint64_t id, Question question) {
  FunctionCall call;
  if (auto known = answer_question(std::move(question), call))
    return way_->answer(way_, id, *std::move(known));
  auto start = [start = std::move(call.start), process = process_, way = way_, id] {
    const auto outcome = start(process);
    outcome->follow(std::make_unique<Reply>(outcome, way, id));
  };
  if (call.place == FunctionCall::Place::loop) return start();
  if (callers_ == nullptr) callers_ = Callers::start(threads_);
  if (callers_ != nullptr) return callers_->push(std::move(start));
  way_->answer(way_, id, Error{.code = Errc::unsupported, .message = "no thread can be had"});
}

bool CallbackDesk::is_busy() const {
  return std::ranges::any_of(lines_, [](const auto& one) {
    const auto line = one.lock();
    return line && line->is_busy();
  });
}

}  // namespace unirun::python
