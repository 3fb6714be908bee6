// Files in memory that travel between a pool and its worker processes: over a socket, as
// descriptors.
//
// Thread: any.

#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <vector>

namespace unirun::bindings {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
};

inline void close_one(int& number) {
  if (number >= 0) ::close(number);
  number = -1;
}

// A file in memory of so many bytes, sparse. -1: errno says why.
[[nodiscard]] int shared_file(const char* name, std::size_t size);

// Sends a descriptor, with one byte. False: errno says why.
[[nodiscard]] bool send_file(int socket, int file, bool may_block);

// The descriptor of a file whose frame has come. It was sent before that frame, so it is there, or
// never will be. -1: it is not.
[[nodiscard]] int receive_file(int socket);

// Changes `pieces`. False: errno says why.
[[nodiscard]] bool write_all(int file, std::vector<iovec>& pieces);

}  // namespace unirun::bindings
