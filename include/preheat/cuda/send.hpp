// A few numbers of the host, written to the device without waiting: they travel as arguments of kernels, which
// are copied when these are launched. So the caller may change them at once, and a step that gets its batch
// this way never waits for it. Many are copied, for which the host waits.
#pragma once
#include <algorithm>
#include <span>

#include "launch.hpp"

namespace preheat {

namespace cuda_kernels {
// to_k = values_k
template <class T>
struct carried {
  static constexpr index_t most =
      index_t(3840 / sizeof(T));  // arguments of a kernel: at most 4096 bytes
  T values[std::size_t(most)];
  T* to;
  constexpr void operator()(index_t k) const { to[k] = values[k]; }
};
}  // namespace cuda_kernels

namespace detail {

// From this size on a copy, for which the host waits, takes less time.
inline constexpr std::size_t most_bytes_to_send = std::size_t(1) << 16U;

// The same, whatever is captured.
template <class T>
void cuda_send_now(const cuda_context& context, std::span<const T> numbers, T* to) {
  if (numbers.size_bytes() > most_bytes_to_send) {
    check(cudaMemcpyAsync(to, numbers.data(), numbers.size_bytes(), cudaMemcpyHostToDevice,
                          context.wanted_stream()),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(context.wanted_stream()), "cudaStreamSynchronize");
    return;
  }
  using carried = cuda_kernels::carried<T>;
  for (std::size_t first = 0; first < numbers.size(); first += std::size_t(carried::most)) {
    const auto part =
        numbers.subspan(first, std::min(numbers.size() - first, std::size_t(carried::most)));
    carried load{};
    std::copy(part.begin(), part.end(), load.values);
    load.to = to + first;
    launch_now(context, index_t(part.size()), load);
  }
}

// to_k = numbers_k; the caller may change the numbers afterwards. Cost: a launch for 3840 bytes; for more than 64 KiB
// a copy and a wait.
template <class T>
void cuda_send(const cuda_context& context, std::span<const T> numbers, T* to) {
  if (!numbers.empty() && !context.takes(numbers.data(), numbers.size_bytes(), to)) {
    cuda_send_now(context, numbers, to);
  }
}

}  // namespace detail
}  // namespace preheat
