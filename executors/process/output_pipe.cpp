#include "executors/process/output_pipe.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace unirun {

OutputPipe::OutputPipe(UniqueFd pipe, RunId run, OutputStream stream,
                       std::shared_ptr<ServiceOutput> output)
    : pipe_(std::move(pipe)), run_(run), stream_(stream), output_(std::move(output)) {}

void OutputPipe::begin(EventLoop& loop, Owner& owner) {
  owner_ = &owner;
  // One read a turn: a service that prints without end takes its turn like all others.
  watch_ = loop.watch(pipe_.get(), Interest::readable, [this](Interest) { on_readable(); });
}

void OutputPipe::on_readable() {
  read_once();
  if (!ended_) return;
  if (owner_ == nullptr) return close();
  owner_->on_output_ended(*this);  // May destroy this.
}

void OutputPipe::close() {
  watch_.reset();
  pipe_.reset();
}

OutputPipe::~OutputPipe() {
  splitter_.finish([this](std::string_view line, bool continued) { take(line, continued); });
}

void OutputPipe::on_line(OnLine function) {
  on_line_ = function ? std::make_unique<OnLine>(std::move(function)) : nullptr;
}

void OutputPipe::take(std::string_view line, bool continued) {
  output_->append(run_, stream_, line, continued);
  if (!on_line_) return;
  const OnLine function = *on_line_;  // It may take itself off.
  function(line);
}

OutputPipe::More OutputPipe::read_once() {
  char bytes[std::size_t{32} << 10];
  if (ended_) return More::no;
  const ssize_t count = ::read(pipe_.get(), bytes, sizeof bytes);
  if (count < 0 && errno == EINTR) return More::yes;
  if (count < 0 && errno == EAGAIN) return More::no;
  if (count <= 0) {
    ended_ = true;
    return More::no;
  }
  splitter_.feed({bytes, static_cast<std::size_t>(count)},
                 [this](std::string_view line, bool continued) { take(line, continued); });
  return More::yes;
}

void OutputPipe::drain() {
  constexpr int max_reads = 64;
  for (int i = 0; i < max_reads && read_once() == More::yes; ++i) {
  }
}

}  // namespace unirun
