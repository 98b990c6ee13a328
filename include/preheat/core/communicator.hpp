// The contract of a communicator, which connects the processes that train together, and
// `process_group`, through which a run uses one.
//
//   comm::mpi world(argc, argv);                            // or comm::self, comm::nccl
//   auto report = fit(m, network, batches, {.rank = 4, .processes = world});
//
// Every process runs the same program on its own part of each batch. All calls below except rank
// and size are collective: every process makes them, in the same order.
#pragma once
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "concepts.hpp"

namespace preheat {

// The memory that a communicator sums and in which a backend computes.
enum class memory_kind { host, device };

// One of several equal parts of a batch.
struct shard {
  index_t index = 0;  // from 0
  index_t count = 1;
};

// start_sum begins to replace x by its sum over all processes, with the same bits in each. x must
// not be read or written until wait() has returned, which waits for all sums. sum() adds one number
// of the host over the processes, and waits. The cost of a call, and whether sums progress beside
// other work, depend on the communicator. One thread at a time may call it.
template <class C>
concept communicator = requires(C& comm, const C& same, std::span<float> x, std::span<double> y,
                                double number, int root, const std::string& why) {
  { C::reaches } -> std::convertible_to<memory_kind>;
  { same.rank() } -> std::same_as<int>;  // 0 … size − 1
  { same.size() } -> std::same_as<int>;
  { comm.start_sum(x) } -> std::same_as<void>;
  { comm.start_sum(y) } -> std::same_as<void>;
  { comm.wait() } -> std::same_as<void>;
  { comm.sum(number) } -> std::same_as<double>;
  { comm.broadcast(x, root) } -> std::same_as<void>;
  { comm.broadcast(y, root) } -> std::same_as<void>;
  { comm.barrier() } -> std::same_as<void>;
  { comm.abort(why) } -> std::same_as<void>;  // ends every process; not collective
};

// A type-erased reference to a communicator. By default it stands for a single process, and then no
// function below makes a call.
class process_group {
 public:
  process_group() = default;
  template <communicator C>
  process_group(C& comm)
      : object_(&comm),
        calls_(&table<C>),
        rank_(comm.rank()),
        size_(comm.size()),
        reaches_(C::reaches) {}

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool alone() const { return size_ == 1; }
  bool first() const { return rank_ == 0; }
  memory_kind reaches() const { return reaches_; }

  template <class T>
  void start_sum(std::span<T> x) const {
    if (!alone()) {
      choose<T>(calls_->start_float, calls_->start_double)(object_, x);
    }
  }
  void wait() const {
    if (!alone()) {
      calls_->wait(object_);
    }
  }
  // x becomes the x of process 0.
  template <class T>
  void broadcast(std::span<T> x) const {
    if (!alone()) {
      choose<T>(calls_->broadcast_float, calls_->broadcast_double)(object_, x);
    }
  }

  double sum(double here) const { return alone() ? here : calls_->sum(object_, here); }
  double mean(double here) const { return sum(here) / size_; }
  bool any(bool here) const { return sum(here ? 1 : 0) > 0; }
  double of_first(double here) const { return sum(first() ? here : 0); }

  // Throws invalid_argument in every process if the processes have different numbers.
  template <class T>
  requires std::is_arithmetic_v<T>
  void require_same(T here, const std::string& what) const {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &here, sizeof here);
    const double low = double(bits & 0xFFFFFFFFU);  // 32 bits are exact in a double
    const double high = double(bits >> 32U);
    if (any(of_first(low) != low) || any(of_first(high) != high)) {
      throw invalid_argument("the processes of a run have the same " + what);
    }
  }

 private:
  struct calls {
    void (*start_float)(void*, std::span<float>);
    void (*start_double)(void*, std::span<double>);
    void (*wait)(void*);
    double (*sum)(void*, double);
    void (*broadcast_float)(void*, std::span<float>);
    void (*broadcast_double)(void*, std::span<double>);
  };
  template <class C>
  static constexpr calls table = {
      [](void* c, std::span<float> x) { static_cast<C*>(c)->start_sum(x); },
      [](void* c, std::span<double> x) { static_cast<C*>(c)->start_sum(x); },
      [](void* c) { static_cast<C*>(c)->wait(); },
      [](void* c, double x) { return static_cast<C*>(c)->sum(x); },
      [](void* c, std::span<float> x) { static_cast<C*>(c)->broadcast(x, 0); },
      [](void* c, std::span<double> x) { static_cast<C*>(c)->broadcast(x, 0); }};

  template <class T, class F, class D>
  static auto choose(F of_float, D of_double) {
    if constexpr (std::same_as<T, float>) {
      return of_float;
    } else {
      return of_double;
    }
  }

  void* object_ = nullptr;
  const calls* calls_ = nullptr;
  int rank_ = 0;
  int size_ = 1;
  memory_kind reaches_ = memory_kind::host;
};

// Where a backend computes: on the host, unless it has the member `memory`.
template <class Be>
consteval memory_kind memory_of() {
  if constexpr (requires { Be::memory; }) {
    return Be::memory;
  } else {
    return memory_kind::host;
  }
}

// Throws unless the communicator of several processes reaches the memory in which the backend computes.
template <class Be>
void require_reached_memory(const process_group& processes) {
  if (!processes.alone() && processes.reaches() != memory_of<Be>()) {
    throw invalid_argument(memory_of<Be>() == memory_kind::device
                               ? "a backend on a device needs a communicator that reaches its "
                                 "memory: comm::nccl"
                               : "a backend on the host needs a communicator that reaches its "
                                 "memory: comm::mpi");
  }
}

// 64-bit FNV-1a over the bytes of numbers, to compare them between processes.
class bit_hash {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  void add(std::span<const T> values) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size_bytes(); ++i) {
      value_ = (value_ ^ bytes[i]) * 1099511628211U;
    }
  }
  template <backend Be>
  void add(Be& be, const_view_of<Be> x) {
    const std::vector<scalar_of<Be>> host = be.download(x);
    add(std::span<const scalar_of<Be>>(host));
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 14695981039346656037U;
};

// Batches that can be loaded in parts: load_shard fills `batch` with one of the equal parts of the
// batch that load gives for the same stream and step. Because a network's loss is the mean over a
// batch and the parts are equal, the mean of the processes' losses is the loss of the whole batch.
template <class D, class Net>
concept sharded_data_source = data_source<D, Net> &&
    requires(D& data, generator stream, index_t step, shard part, typename Net::batch_type& batch) {
  { data.load_shard(stream, step, part, batch) } -> std::same_as<void>;
};

}  // namespace preheat
