// The communicator of a single process: sums are the identity and broadcasts do nothing.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "../core/communicator.hpp"

namespace preheat::comm {

class self {
 public:
  static constexpr memory_kind reaches = memory_kind::host;

  int rank() const { return 0; }
  int size() const { return 1; }
  template <class T>
  void start_sum(std::span<T>) {}
  void wait() {}
  double sum(double here) { return here; }
  template <class T>
  void broadcast(std::span<T>, int) {}
  void barrier() {}
  [[noreturn]] void abort(const std::string& why) {
    std::fprintf(stderr, "preheat: %s\n", why.c_str());
    std::exit(1);
  }
};

static_assert(communicator<self>);

}  // namespace preheat::comm
