#include "executors/process/worker_template.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "executors/process/death_board.h"
#include "executors/process/host_mark.h"
#include "executors/process/worker_message.h"

namespace unirun {
namespace {

// For imports; a worker that started fresh would not be ready sooner.
constexpr Duration import_patience = std::chrono::seconds{10};
// For a fork: one that takes longer does not answer at all.
constexpr Duration fork_patience = std::chrono::seconds{5};
// A template that lived this long has done its work; its death says nothing about the next one.
constexpr Duration stable_time = std::chrono::seconds{10};
constexpr Duration first_restart_pause = std::chrono::milliseconds{100};
constexpr Duration longest_pause = std::chrono::minutes{1};

constexpr int channel_target = 3;
constexpr int board_target = 4;
// The width that a worker writes its own marks into.
constexpr std::size_t mark_width = 20;

void collect(pid_t pid) {
  siginfo_t ended{};
  ::waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOHANG);
}

}  // namespace

WorkerTemplate::WorkerTemplate(RunWorld& world, TemplatePlan plan, std::string path,
                               std::shared_ptr<ServiceOutput> output,
                               std::function<void(std::uint64_t)> on_gone)
    : world_(world),
      plan_(std::move(plan)),
      path_(std::move(path)),
      output_(std::move(output)),
      on_gone_(std::move(on_gone)) {}

WorkerTemplate::~WorkerTemplate() {
  world_.loop.cancel_timer(patience_);
  world_.loop.cancel_timer(restart_);
  if (!process_.pidfd) return;
  kill();
  // Bounded, as everything that waits for a death.
  constexpr int patience_ms = 2000;
  pollfd death{process_.pidfd.get(), POLLIN, 0};
  while (::poll(&death, 1, patience_ms) < 0 && errno == EINTR) {
  }
  collect(process_.pid);
  world_.children.erase(process_.pid);
}

void WorkerTemplate::kill() {
  if (process_.pidfd) ::kill(-process_.pid, SIGKILL);
}

// ---- Its process ----

bool WorkerTemplate::start() {
  world_.loop.cancel_timer(std::exchange(restart_, TimerId::none));
  int sockets[2];
  // Packets: a request and its descriptors stay together.
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) return false;
  channel_.reset(sockets[0]);
  const UniqueFd theirs(sockets[1]);

  SpawnRequest request = plan_.request;
  request.descriptors = {{theirs.get(), channel_target}};
  request.environment.set("UNIRUN_TEMPLATE_FD", std::to_string(channel_target));
  if (world_.deaths != nullptr && world_.deaths->descriptor() >= 0) {
    request.descriptors.push_back({world_.deaths->descriptor(), board_target});
    request.environment.set("UNIRUN_BOARD_FD", std::to_string(board_target));
  }
  number_ = ++world_.last_launch;
  request.environment.set(launch_mark_variable, fmt::format("{:0{}}", number_, mark_width));
  request.environment.set("UNIRUN_RUN", fmt::format("{:.<{}}", "template", mark_width));
  std::vector<UniqueFd> ends;
  for (const auto stream : {OutputStream::standard_output, OutputStream::standard_error}) {
    int pipe[2];
    if (!output_ || ::pipe2(pipe, O_CLOEXEC) < 0) break;  // Then what imports print is not seen.
    const bool is_stdout = stream == OutputStream::standard_output;
    ends.emplace_back(pipe[1]);
    request.descriptors.push_back({pipe[1], is_stdout ? STDOUT_FILENO : STDERR_FILENO});
    (is_stdout ? stdout_ : stderr_) =
        std::make_unique<OutputPipe>(UniqueFd(pipe[0]), RunId{}, stream, output_);
  }
  auto process = world_.spawner.spawn(request);
  // Whatever fails here fails a fresh start as well, which says what it is.
  if (!process) {
    stdout_.reset();
    stderr_.reset();
    channel_.reset();
    return false;
  }
  process_ = std::move(*process);
  state_ = State::importing;
  started_at_ = world_.loop.clock().now();
  world_.children.insert(process_.pid);
  if (stdout_) stdout_->begin(world_.loop, *this);
  if (stderr_) stderr_->begin(world_.loop, *this);
  reading_ = world_.loop.watch(channel_.get(), Interest::readable, [this](Interest) { receive(); });
  death_ =
      world_.loop.watch(process_.pidfd.get(), Interest::readable, [this](Interest) { on_died(); });
  send({{"type", "preload"}, {"modules", plan_.preload}, {"target", plan_.target}}, {});
  return true;
}

void WorkerTemplate::on_died() {
  const pid_t pid = process_.pid;
  ::kill(-pid, SIGKILL);
  collect(pid);
  receive();  // Its last words.
  if (stdout_) stdout_->drain();
  if (stderr_) stderr_->drain();
  end_process();
  world_.children.erase(pid);
  on_gone_(number_);
  if (state_ == State::importing || state_ == State::ready) {
    const bool was_ready = state_ == State::ready;
    state_ = State::absent;
    if (world_.loop.clock().now() - started_at_ >= stable_time) failures_ = 0;
    world_.bus.publish(
        path_, Warning{fmt::format("the template process {} of this service {}; services start "
                                   "fresh until there is another",
                                   pid, was_ready ? "has died" : "died while it imported")});
    pause();
    if (was_ready) restart_later();
  } else if (state_ == State::absent && !pending_.empty()) {
    // It left because its files had changed.
    if (start()) return;
  }
  answer_all(Birth::declined, Birth::unclear);
}

void WorkerTemplate::end_process() {
  death_.reset();
  reading_.reset();
  channel_.reset();
  process_.pidfd.reset();
  stdout_.reset();
  stderr_.reset();
}

// Before it is started again.
void WorkerTemplate::pause() {
  const Duration pause =
      std::min(longest_pause, first_restart_pause * (1U << std::min(failures_++, 12U)));
  earliest_start_ = world_.loop.clock().now() + pause;
}

// So that it is warm for the next crash. One that has never been is started when it is needed.
void WorkerTemplate::restart_later() {
  restart_ = world_.loop.start_timer(earliest_start_, [this] {
    restart_ = TimerId::none;
    if (state_ == State::absent && !process_.pidfd) static_cast<void>(start());
  });
}

// ---- Orders ----

WorkerTemplate::OrderId WorkerTemplate::fork(Order order) {
  if (state_ == State::useless) {
    if (earliest_start_ == Instant::max() || world_.loop.clock().now() < earliest_start_) return 0;
    if (process_.pidfd) return 0;  // It is about to end.
    state_ = State::absent;
  }
  if (state_ == State::absent && !process_.pidfd) {
    if (world_.loop.clock().now() < earliest_start_ || !start()) return 0;
  }
  const OrderId id = ++last_order_;
  order.message["id"] = id;
  pending_.push_back({id, std::move(order)});
  send_orders();
  watch_patience();
  return id;
}

void WorkerTemplate::cancel(OrderId id) {
  const auto found = std::find_if(pending_.begin(), pending_.end(),
                                  [id](const Pending& pending) { return pending.id == id; });
  if (found == pending_.end()) return;
  if (!found->sent) {
    pending_.erase(found);
  } else {
    found->cancelled = true;
  }
}

// All that the socket takes; the rest when answers have come.
void WorkerTemplate::send_orders() {
  if (state_ != State::ready) return;
  for (Pending& pending : pending_) {
    if (pending.sent) continue;
    if (!send(pending.order.message, pending.order.descriptors)) return;
    pending.sent = true;
  }
}

bool WorkerTemplate::send(const nlohmann::json& message, const std::vector<int>& descriptors) {
  constexpr std::size_t max_descriptors = 8;
  std::string text = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(max_descriptors * sizeof(int))> control{};
  iovec part{text.data(), text.size()};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    packet.msg_control = control.data();
    packet.msg_controllen = CMSG_SPACE(size);
    cmsghdr* head = CMSG_FIRSTHDR(&packet);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(head), descriptors.data(), size);
  }
  ssize_t sent = -1;
  do {
    sent = ::sendmsg(channel_.get(), &packet, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

// An order is not to wait for ever: not for imports, and not for a template that hangs.
void WorkerTemplate::watch_patience() {
  if (patience_ != TimerId::none || pending_.empty()) return;
  const Duration patience = state_ == State::ready ? fork_patience : import_patience;
  patience_ = world_.loop.start_timer(world_.loop.clock().now() + patience,
                                      [this, oldest = pending_.front().id] {
                                        patience_ = TimerId::none;
                                        if (!pending_.empty() && pending_.front().id == oldest) {
                                          lose_patience();
                                        }
                                        watch_patience();
                                      });
}

void WorkerTemplate::lose_patience() {
  if (pending_.front().sent) return kill();  // Its death answers.
  answer_all(Birth::declined, Birth::unclear);
}

void WorkerTemplate::answer(Pending pending, Birth birth, SpawnedProcess process) {
  if (!pending.cancelled) return pending.order.on_born(birth, std::move(process));
  if (birth != Birth::forked) return;
  ::kill(-process.pid, SIGKILL);
  // Dies before anybody else hears of it; as an unknown child it is reaped, or here.
  pollfd death{process.pidfd.get(), POLLIN, 0};
  constexpr int patience_ms = 200;
  ::poll(&death, 1, patience_ms);
  collect(process.pid);
}

void WorkerTemplate::answer_all(Birth unsent, Birth sent) {
  std::deque<Pending> answered = std::exchange(pending_, {});
  for (Pending& pending : answered) {
    const Birth birth = pending.sent ? sent : unsent;
    answer(std::move(pending), birth, {});
  }
}

// ---- Its word ----

void WorkerTemplate::receive() {
  constexpr int max_messages = 64;  // A turn.
  for (int i = 0; i < max_messages && channel_; ++i) {
    std::array<char, std::size_t{64} << 10> text;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{text.data(), text.size()};
    msghdr packet{};
    packet.msg_iov = &part;
    packet.msg_iovlen = 1;
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(channel_.get(), &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (count == 0) reading_.reset();  // Its pidfd tells the rest.
      return;
    }
    UniqueFd descriptor;
    if (const cmsghdr* head = CMSG_FIRSTHDR(&packet);
        head != nullptr && head->cmsg_type == SCM_RIGHTS) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(head), sizeof received);
      descriptor.reset(received);
    }
    const auto message = nlohmann::json::parse(text.data(), text.data() + count, nullptr, false);
    if (message.is_object()) on_message(message, std::move(descriptor));
  }
}

void WorkerTemplate::on_message(const nlohmann::json& message, UniqueFd descriptor) {
  const std::string type = text_of(message, "type");
  if (type == "forked" || type == "refused") return on_answer(message, std::move(descriptor));
  if (type == "ready") {
    state_ = State::ready;
    world_.loop.cancel_timer(std::exchange(patience_, TimerId::none));
    send_orders();
    watch_patience();
  } else if (type == "warning") {
    world_.bus.publish(path_, Warning{"template process: " + text_of(message, "text")});
  } else if (type == "unable") {
    // It ends by itself.
    const bool for_good = message.value("for_good", false);
    state_ = State::useless;
    pause();
    if (for_good) earliest_start_ = Instant::max();
    world_.bus.publish(path_, Warning{fmt::format("no template process: {}; services start fresh",
                                                  text_of(message, "text"))});
    answer_all(Birth::declined, Birth::declined);
  } else if (type == "changed") {
    // It ends by itself; what it has not answered goes to the next one.
    state_ = State::absent;
    failures_ = 0;
    earliest_start_ = {};
    for (Pending& pending : pending_) pending.sent = false;
  }
}

void WorkerTemplate::on_answer(const nlohmann::json& message, UniqueFd pidfd) {
  const auto id = message.find("id");
  if (id == message.end() || !id->is_number_unsigned()) return;
  const auto found = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& pending) {
    return pending.id == id->get<OrderId>();
  });
  if (found == pending_.end()) return;
  Pending pending = std::move(*found);
  pending_.erase(found);
  world_.loop.cancel_timer(std::exchange(patience_, TimerId::none));
  const auto pid = message.find("pid");
  const bool forked = pidfd && pid != message.end() && pid->is_number_integer();
  if (!forked) {
    world_.bus.publish(path_, Warning{fmt::format("template process: {}; the service starts fresh",
                                                  text_of(message, "text"))});
  }
  SpawnedProcess process;
  if (forked) process = {pid->get<pid_t>(), std::move(pidfd)};
  send_orders();
  watch_patience();
  answer(std::move(pending), forked ? Birth::forked : Birth::declined, std::move(process));
}

}  // namespace unirun
