// f(group, 0), …, f(group, n − 1) on the device, each computed by a group of threads together, in the order of
// the context's stream:
//
//   struct add_row_sums {  // x_i += Σ_j a_ij
//     template <class Group>
//     constexpr void operator()(const Group& group, index_t i) const {
//       T sum = 0;
//       for (index_t j = group.rank(); j < cols; j += group.size()) {
//         sum += a(i, j);
//       }
//       sum = group.sum(sum);
//       if (group.rank() == 0) {
//         x[i] += sum;
//       }
//     }
//   };
//   launch_groups(context, group_kind::warp, rows, add_row_sums{…});
//
// A group has size() threads, of which this one is number rank(). sum(x) and max(x) join one number of every
// thread, always in the same order, and give all threads the result; every thread must call them. Threads
// of a group do not see what another one wrote. f is as launch.hpp demands.
//
// The groups are warps, or blocks of 256 threads for long loops. The CUDA double in the tests runs groups of
// another size, so that a loop over anything but rank() and size() is wrong there.
#pragma once
#include "launch.hpp"

namespace preheat {

enum class group_kind { warp, block };

// The group for a loop of this length.
constexpr group_kind group_for(index_t length) {
  return length <= 1024 ? group_kind::warp : group_kind::block;
}

namespace detail {

struct add_numbers {
  template <class T>
  constexpr T operator()(T x, T y) const {
    return x + y;
  }
};
struct larger_number {
  template <class T>
  constexpr T operator()(T x, T y) const {
    return x > y ? x : y;
  }
};

#if defined(__CUDACC__)

inline constexpr int warp_size = 32;
inline constexpr int block_size = 256;

struct warp_group {
  __host__ __device__ int size() const { return warp_size; }
  __host__ __device__ int rank() const {
#if defined(__CUDA_ARCH__)
    return int(threadIdx.x) % warp_size;
#else
    return 0;
#endif
  }
  template <class T>
  __host__ __device__ T sum(T x) const {
    return joined(x, add_numbers{});
  }
  template <class T>
  __host__ __device__ T max(T x) const {
    return joined(x, larger_number{});
  }
  template <class T, class Join>
  __host__ __device__ T joined(T x, [[maybe_unused]] Join join) const {
#if defined(__CUDA_ARCH__)
    for (int distance = warp_size / 2; distance > 0; distance /= 2) {
      x = join(x, __shfl_xor_sync(0xFFFFFFFFU, x, distance));
    }
#endif
    return x;
  }
};

// First each warp, then the warps' results through shared memory.
struct block_group {
  __host__ __device__ int size() const { return block_size; }
  __host__ __device__ int rank() const {
#if defined(__CUDA_ARCH__)
    return int(threadIdx.x);
#else
    return 0;
#endif
  }
  template <class T>
  __host__ __device__ T sum(T x) const {
    return joined(x, add_numbers{});
  }
  template <class T>
  __host__ __device__ T max(T x) const {
    return joined(x, larger_number{});
  }
  template <class T, class Join>
  __host__ __device__ T joined(T x, Join join) const {
    x = warp_group().joined(x, join);
#if defined(__CUDA_ARCH__)
    __shared__ T of_warp[block_size / warp_size];
    __syncthreads();  // everybody has read the results of the call before
    if (rank() % warp_size == 0) {
      of_warp[rank() / warp_size] = x;
    }
    __syncthreads();
    x = of_warp[0];
    for (int warp = 1; warp < block_size / warp_size; ++warp) {
      x = join(x, of_warp[warp]);
    }
#endif
    return x;
  }
};

template <class Group, class F>
__global__ void for_each_group(F f, index_t n) {
  const index_t in_block = blockDim.x / unsigned(Group().size());
  const index_t first = index_t(blockIdx.x) * in_block + index_t(threadIdx.x) / Group().size();
  for (index_t k = first; k < n; k += index_t(gridDim.x) * in_block) {
    f(Group(), k);
  }
}

template <class Group, class F>
void launch_group_kernel(const cuda_context& context, index_t n, const F& f) {
  constexpr index_t most_blocks = 1 << 16;
  const index_t in_block = block_size / Group().size();
  const index_t blocks = std::min((n + in_block - 1) / in_block, most_blocks);
  for_each_group<Group>
      <<<unsigned(blocks), unsigned(block_size), 0, context.wanted_stream()>>>(f, n);
  check(cudaGetLastError(), "the launch of a kernel");
}

#else

// A group of the CUDA double. all_of(state, x) hands in a thread's number, waits for the others, and returns
// those of all threads in the order of their ranks.
class host_group {
 public:
  using exchange = const double* (*)(void* state, double x);
  host_group(int rank, int size, void* state, exchange all_of)
      : rank_(rank), size_(size), state_(state), all_of_(all_of) {}
  int rank() const { return rank_; }
  int size() const { return size_; }
  template <class T>
  T sum(T x) const {
    return joined(x, add_numbers{});
  }
  template <class T>
  T max(T x) const {
    return joined(x, larger_number{});
  }

 private:
  template <class T, class Join>
  T joined(T x, Join join) const {
    const double* const all = all_of_(state_, double(x));
    T result = T(all[0]);
    for (int thread = 1; thread < size_; ++thread) {
      result = join(result, T(all[thread]));
    }
    return result;
  }
  int rank_;
  int size_;
  void* state_;
  exchange all_of_;
};

#endif

}  // namespace detail
}  // namespace preheat

#if !defined(__CUDACC__)
extern "C" cudaError_t preheat_compile_this_file_with_nvcc_to_use_a_gpu_for_groups(
    preheat::index_t n, const void* f, std::size_t size_of_f,
    void (*call)(const void* f, const preheat::detail::host_group& group, preheat::index_t k),
    cudaStream_t stream);
#endif

namespace preheat {

template <class F>
void launch_groups(const cuda_context& context, [[maybe_unused]] group_kind kind, index_t n,
                   const F& f) {
  static_assert(std::is_trivially_copyable_v<F>,
                "preheat: a kernel is copied to the device, so it must be trivially copyable");
  if (n <= 0 || !context.wants("a kernel of groups", &detail::kernel_mark<F>, kind, n, f)) {
    return;
  }
#if defined(__CUDACC__)
  kind == group_kind::warp ? detail::launch_group_kernel<detail::warp_group>(context, n, f)
                           : detail::launch_group_kernel<detail::block_group>(context, n, f);
#else
  const auto call = [](const void* g, const detail::host_group& group, index_t k) {
    (*static_cast<const F*>(g))(group, k);
  };
  detail::check(preheat_compile_this_file_with_nvcc_to_use_a_gpu_for_groups(
                    n, &f, sizeof f, call, context.wanted_stream()),
                "the launch of a kernel");
#endif
}

}  // namespace preheat
