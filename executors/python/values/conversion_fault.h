// Why something could not be converted, and where in it: written on the way out of the nest, so
// that what converts well pays nothing for its place.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "executors/python/error.h"

namespace unirun::python {

class Fault {
 public:
  // All false, so that a conversion that ends says "return fault.in(key)".
  bool is(std::string why);  // With the code conversion.
  bool is(Error why);
  bool in(std::string_view key);
  bool in(std::size_t index);

  // "at .items[3].name: ...", or the mere reason where it is the whole that is wrong.
  [[nodiscard]] Error error() &&;

 private:
  Error why_;
  std::string place_;
};

// Counts how many levels of the nest are open.
class DepthCount {
 public:
  explicit DepthCount(std::size_t& depth) : depth_(depth) { ++depth_; }
  ~DepthCount() { --depth_; }
  DepthCount(const DepthCount&) = delete;
  DepthCount& operator=(const DepthCount&) = delete;

 private:
  std::size_t& depth_;
};

// What to say at max_depth + 1.
[[nodiscard]] std::string too_deep();

}  // namespace unirun::python
