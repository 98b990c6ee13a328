// f(0), …, f(n − 1) on the device, in any order, in the order of the context's stream. f is a
// trivially copyable functor with a constexpr call operator; what it points to is on the device.
//
// nvcc compiles this to a kernel; nothing else in the library needs nvcc. Another compiler leaves a
// call to a function that the library does not define, whose name in the linker's error says what
// to do. The CUDA double in the tests defines it, and calls f on the host.
#pragma once
#include <algorithm>
#include <type_traits>

#include "context.hpp"

#if !defined(__CUDACC__)
extern "C" cudaError_t preheat_compile_this_file_with_nvcc_to_use_a_gpu(
    preheat::index_t n, const void* f, std::size_t size_of_f,
    void (*call)(const void* f, preheat::index_t k), cudaStream_t stream);
#endif

namespace preheat {

#if defined(__CUDACC__)
namespace detail {
template <class F>
__global__ void for_each_index(F f, index_t n) {
  const index_t stride = index_t(gridDim.x) * index_t(blockDim.x);
  for (index_t k = index_t(blockIdx.x) * index_t(blockDim.x) + index_t(threadIdx.x); k < n;
       k += stride) {
    f(k);
  }
}
}  // namespace detail
#endif

namespace detail {
template <class F>
inline constexpr char kernel_mark = 0;  // its address tells kernels apart

// Gives the kernel to the stream, whatever is captured.
template <class F>
void launch_now(const cuda_context& context, index_t n, const F& f) {
#if defined(__CUDACC__)
  constexpr index_t threads = 256;
  constexpr index_t most_blocks = 1 << 16;
  const index_t blocks = std::min((n + threads - 1) / threads, most_blocks);
  for_each_index<<<unsigned(blocks), unsigned(threads), 0, context.wanted_stream()>>>(f, n);
  check(cudaGetLastError(), "the launch of a kernel");
#else
  const auto call = [](const void* g, index_t k) { (*static_cast<const F*>(g))(k); };
  check(preheat_compile_this_file_with_nvcc_to_use_a_gpu(n, &f, sizeof f, call,
                                                         context.wanted_stream()),
        "the launch of a kernel");
#endif
}
}  // namespace detail

template <class F>
void launch(const cuda_context& context, index_t n, const F& f) {
  static_assert(std::is_trivially_copyable_v<F>,
                "preheat: a kernel is copied to the device, so it must be trivially copyable");
  if (n > 0 && context.wants("a kernel", &detail::kernel_mark<F>, n, f)) {
    detail::launch_now(context, n, f);
  }
}

}  // namespace preheat
