// The machine behind the symbols: memory, streams, orders to fail. See control.hpp.
#pragma once
#include <concepts>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>

#include "control.hpp"

namespace cuda_double {

struct misuse : std::runtime_error {
  using runtime_error::runtime_error;
};
// A call that is refused with a code, without being a misuse.
struct refusal {
  int code;
};

struct block {
  enum class state { alive, to_be_freed, freed };
  long number;
  char* data;  // as the user sees it
  std::size_t bytes;
  char* pages;
  std::size_t page_bytes;
  const void* from;   // the stream that allocated it
  bool born = false;  // whether that stream has come so far
  state now = state::alive;
};

using pieces_of_work = std::vector<std::function<void()>>;
struct stream {
  std::deque<std::function<void()>> work;
  std::shared_ptr<pieces_of_work> captured;  // while it captures: what it was given
};
// The latest moment of a stream that was recorded, and the latest that has come.
struct event {
  stream* of = nullptr;
  long recorded = 0;
  long reached = 0;
};

class machine {
 public:
  static machine& get();

  std::recursive_mutex mutex;
  settings now{};
  std::map<const char*, block> blocks;  // by their pages
  std::size_t bytes_alive = 0;
  std::set<stream*> streams;
  std::map<const void*, std::shared_ptr<event>> events;
  std::map<const void*, std::unique_ptr<char[]>> pinned;  // memory of the host
  std::set<const void*> handles;
  std::map<const void*, std::shared_ptr<pieces_of_work>> graphs;  // and executable ones
  stream default_stream;
  std::size_t cublas_workspace = 0;
  bool broken = false;  // an earlier piece of work failed

  std::vector<std::string> violations;
  std::map<std::string, long> calls_by_name;
  long calls = 0;
  long fail_in = 0;
  long fail_work_in = 0;
  struct order {
    long in = 0;
    int code = 0;
  };
  std::map<std::string, order> fail_by_name;
  std::map<std::string, int> info_by_name;

  void reset(settings s);
  bool is_device(const void* p) const { return p >= device_ && p < device_ + arena_bytes; }
  block* find(const void* p);

  void* allocate(std::size_t bytes, stream& s);
  void release(void* p, stream& s);
  // The bytes behind a device pointer, as the double can reach them. Throws misuse unless all lie
  // in one block that is alive; nullptr if there are none.
  void* reach(const void* p, std::size_t bytes, const char* what);

  stream& find_stream(void* s);
  // Gives work to a stream, or to what it captures.
  void enqueue(stream& s, std::function<void()> work);
  void run(stream& s);
  // Runs a stream as far as a recorded moment, for another that waits for it.
  void run_until(const event& e, long moment);
  // Runs f while the host may touch the blocks to which the functor's bytes point.
  void run_kernel(const std::vector<char>& functor, const std::function<void()>& f);

  // The code to fail with if there is such an order for this call.
  const int* failure(const char* name, const int& usual);
  int info_of(const char* name);

 private:
  machine();
  void check_guards(const block& b);
  void run_next(stream& s);
  std::vector<block*> blocks_of(const std::vector<char>& functor);

  static constexpr std::size_t arena_bytes = std::size_t(256) << 30U;
  int file_ = -1;
  char* device_ = nullptr;  // what the user gets: not accessible
  char* alias_ = nullptr;   // the same memory, accessible
  std::size_t used_ = 0;
  bool running_ = false;
  long next_number_ = 1;
};

// The body of a library function: counts the call, fails if ordered to, and turns a misuse into a
// status. `Status` has three values: of an ordered failure, of a misuse, and of a broken machine.
template <class Status>
struct codes {
  Status ordered;
  Status misused;
  Status broken;
};
template <class Status, class Body>
Status call(const char* name, codes<Status> c, const Body& body) {
  machine& m = machine::get();
  const std::lock_guard lock(m.mutex);
  const int usual = int(c.ordered);
  if (const int* code = m.failure(name, usual)) {
    return Status(*code);
  }
  if (m.broken) {
    return c.broken;
  }
  try {
    body();
  } catch (const misuse& e) {
    m.violations.push_back(std::string(name) + ": " + e.what());
    return c.misused;
  } catch (const refusal& r) {
    return Status(r.code);
  }
  return Status(0);  // work that failed meanwhile is reported by the next call
}
// The same for what may not fail: releasing.
template <class Status, class Body>
Status release_call(const char* name, codes<Status> c, const Body& body) {
  machine& m = machine::get();
  const std::lock_guard lock(m.mutex);
  try {
    body();
  } catch (const misuse& e) {
    m.violations.push_back(std::string(name) + ": " + e.what());
    return c.misused;
  }
  return Status(0);
}

inline void expect(bool holds, const char* law, const char* rest = "") {
  if (!holds) {
    throw misuse(std::string(law) + rest);
  }
}
// With words that are put together when they are needed.
template <std::invocable Words>
void expect(bool holds, const Words& words) {
  if (!holds) {
    throw misuse(words());
  }
}
// A column-major matrix on the device: checked at the call, reached when the work runs.
template <class T>
struct operand {
  T* data;
  std::size_t bytes;
  const char* name;
  T* reach() const { return static_cast<T*>(machine::get().reach(data, bytes, name)); }
};
template <class T>
operand<T> matrix(const char* name, T* data, long rows, long cols, long ld) {
  expect(rows >= 0 && cols >= 0, name, ": a dimension is negative");
  expect(ld >= (rows > 1 ? rows : 1), name, ": the leading dimension is too small");
  const std::size_t entries =
      rows == 0 || cols == 0 ? 0 : std::size_t(ld) * std::size_t(cols - 1) + std::size_t(rows);
  operand<T> x{data, entries * sizeof(T), name};
  x.reach();
  return x;
}
// NaN everywhere, for what a function leaves undefined.
void spoil(void* p, std::size_t bytes);

}  // namespace cuda_double
