// Ring is one direction of the memory that a pool shares with a worker process: whole frames, one
// writer, one reader. Positions only grow; a frame never wraps, and a padding frame fills the end
// instead. The reader sees a frame once all of it is there, so that a writer killed in the middle
// has written nothing.
//
// What the reader sees is checked before it is used: the other side may be any process's ruin.
//
// Thread: one writer and one reader at a time, in processes of their own.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "framework/futex.h"

namespace unirun::bindings {

enum class FrameKind : std::uint8_t { padding, define, call, stop, result, failure };

// How the payload is written (process_codec.h).
enum class Encoding : std::uint8_t { none, plain, pickle, buffers, file };

// Who has a call: the worker takes it, or the pool takes it back before that.
enum class Claim : std::uint32_t { open, taken, recalled };

struct alignas(64) Frame {
  std::uint32_t size = 0;  // With this header, a multiple of `frame_alignment`.
  FrameKind kind = FrameKind::padding;
  Encoding encoding = Encoding::none;
  bool has_keywords = false;
  std::atomic<Claim> claim{Claim::open};
  std::uint32_t function = 0;  // Which one, or `no_function`: it is in the payload.
  std::uint64_t task = 0;
  std::uint64_t payload = 0;    // Bytes behind this header.
  std::int64_t started_ns = 0;  // CLOCK_MONOTONIC, in results, and in calls once they are taken.
  std::int64_t ended_ns = 0;

  [[nodiscard]] char* data() { return reinterpret_cast<char*>(this + 1); }
};
constexpr std::size_t frame_alignment = alignof(Frame);  // So a header always fits before the end.
constexpr std::uint32_t no_function = UINT32_MAX;
static_assert(sizeof(Frame) % frame_alignment == 0);

constexpr std::size_t ring_capacity = 8U << 20;  // Sparse: what is never used costs nothing.
constexpr std::size_t largest_frame = ring_capacity / 2;  // What is larger travels as a file.

// The words of one ring, in shared memory.
struct RingWords {
  alignas(64) std::atomic<std::uint64_t> written{0};
  alignas(64) std::atomic<std::uint64_t> read{0};
  alignas(64) std::atomic<std::uint32_t> reader_parked{0};
  std::atomic<std::uint32_t> writer_parked{0};
};

// True for whoever is to wake the side that sleeps on `parked`: one wake for each sleep.
inline bool claim_wake(std::atomic<std::uint32_t>& parked) {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // Between what we published and this.
  return parked.load(std::memory_order_relaxed) != 0 && parked.exchange(0) != 0;
}

class RingWriter {
 public:
  RingWriter(RingWords* words, char* memory) : words_(words), memory_(memory) {}

  // Room for a frame with `payload` bytes, not yet visible; null: there is none now.
  // REQUIRES: sizeof(Frame) + payload <= largest_frame.
  [[nodiscard]] Frame* reserve(std::size_t payload) {
    const std::size_t size = round_up(sizeof(Frame) + payload);
    const std::uint64_t read = words_->read.load(std::memory_order_acquire);
    std::size_t offset = written_ % ring_capacity;
    // An empty ring starts again at its beginning, where memory is warm.
    if ((read == written_ && offset > warm_bytes) || offset + size > ring_capacity) {
      const std::size_t rest = ring_capacity - offset;
      if (written_ + rest + size - read > ring_capacity) return nullptr;
      Frame* padding = new (memory_ + offset) Frame;
      padding->size = static_cast<std::uint32_t>(rest);
      written_ += rest;
      offset = 0;
    } else if (written_ + size - read > ring_capacity) {
      return nullptr;
    }
    auto* frame = new (memory_ + offset) Frame;
    frame->size = static_cast<std::uint32_t>(size);
    frame->payload = payload;
    return frame;
  }
  // The frame from reserve() can be read from now on.
  void publish(Frame* frame) {
    last_ = frame;
    written_ += frame->size;
    words_->written.store(written_, std::memory_order_release);
  }
  // The one that was published last.
  [[nodiscard]] Frame* last() const { return last_; }
  [[nodiscard]] std::size_t room() const {
    const auto used = written_ - words_->read.load(std::memory_order_acquire);
    return used > ring_capacity ? 0 : ring_capacity - static_cast<std::size_t>(used);
  }
  [[nodiscard]] RingWords& words() const { return *words_; }

 private:
  static constexpr std::size_t warm_bytes = 128U << 10;
  static std::size_t round_up(std::size_t size) {
    return (size + frame_alignment - 1) & ~(frame_alignment - 1);
  }

  RingWords* words_;
  char* memory_;
  Frame* last_ = nullptr;
  std::uint64_t written_ = 0;
};

class RingReader {
 public:
  RingReader(RingWords* words, char* memory) : words_(words), memory_(memory) {}

  // The next frame; null: there is none, or (`damaged()`) what stands there is none.
  [[nodiscard]] Frame* front() {
    for (;;) {
      const std::uint64_t written = words_->written.load(std::memory_order_acquire);
      if (written == read_) return nullptr;
      const std::size_t offset = read_ % ring_capacity;
      auto* frame = reinterpret_cast<Frame*>(memory_ + offset);
      const std::size_t size = frame->size;
      if (written - read_ > ring_capacity || size < sizeof(Frame) || size % frame_alignment != 0 ||
          size > written - read_ || offset + size > ring_capacity ||
          frame->payload > size - sizeof(Frame)) {
        damaged_ = true;
        return nullptr;
      }
      front_size_ = size;
      if (frame->kind != FrameKind::padding) return frame;
      pop();
    }
  }
  // Done with front(): its memory is the writer's again.
  void pop() {
    read_ += front_size_;
    words_->read.store(read_, std::memory_order_release);
  }
  [[nodiscard]] bool empty() const {
    return words_->written.load(std::memory_order_acquire) == read_;
  }
  // Whether front() is the last that was written.
  [[nodiscard]] bool empty_behind_front() const {
    return words_->written.load(std::memory_order_acquire) == read_ + front_size_;
  }
  [[nodiscard]] bool damaged() const { return damaged_; }
  [[nodiscard]] RingWords& words() const { return *words_; }

 private:
  RingWords* words_;
  char* memory_;
  std::uint64_t read_ = 0;
  std::size_t front_size_ = 0;
  bool damaged_ = false;
};

}  // namespace unirun::bindings
