// LineSplitter turns the bytes of a pipe into lines, however they arrive. A line without an end is
// kept until its end comes; one that grows too long is handed on in pieces, so that memory stays
// bounded and no byte is lost.
//
// A value; owned by one pipe.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace unirun {

class LineSplitter {
 public:
  static constexpr std::size_t max_line = std::size_t{16} << 10;

  // Calls on_line(text, continued) for every line that `bytes` completes; `continued` says that the
  // line was cut and goes on in the next. "\r\n" ends a line as "\n" does.
  template <class OnLine>
  void feed(std::string_view bytes, OnLine&& on_line) {
    while (!bytes.empty()) {
      const auto end = bytes.find('\n');
      const bool complete = end != std::string_view::npos;
      std::string_view part = complete ? bytes.substr(0, end) : bytes;
      bytes.remove_prefix(complete ? end + 1 : bytes.size());
      while (partial_.size() + part.size() > max_line) {
        const std::size_t fits = max_line - partial_.size();
        partial_.append(part.substr(0, fits));
        part.remove_prefix(fits);
        on_line(std::string_view(partial_), true);
        partial_.clear();
      }
      if (!complete) {
        partial_.append(part);
      } else if (partial_.empty()) {
        on_line(without_return(part), false);
      } else {
        partial_.append(part);
        on_line(without_return(partial_), false);
        release();
      }
    }
  }

  // The pipe has ended: what is left is a line too.
  template <class OnLine>
  void finish(OnLine&& on_line) {
    if (!partial_.empty()) on_line(std::string_view(partial_), false);
    release();
  }

  [[nodiscard]] bool has_partial() const { return !partial_.empty(); }

 private:
  static std::string_view without_return(std::string_view line) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
  }

  // Thousands of these wait for their next line: a long one must not leave its memory behind.
  void release() {
    if (partial_.capacity() > 256) std::string().swap(partial_);
    partial_.clear();
  }

  std::string partial_;
};

}  // namespace unirun
