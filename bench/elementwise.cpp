// GELU, forward and backward, over a million numbers.
#include "bench.hpp"

namespace bench {

namespace {

constexpr index_t rows = 4096;
constexpr index_t cols = 256;

struct forward_body {
  template <class Be>
  auto operator()() const {
    return [](benchmark::State& state) {
      Be be;
      const mat<Be> z = random(be, rows, cols, 1);
      mat<Be> h = be.zeros(rows, cols);
      mat<Be> cdf = be.zeros(rows, cols);
      for (auto _ : state) {
        be.apply(nn::gelu_kernel<scalar_of<Be>>{}, h, cdf, z);
        benchmark::ClobberMemory();
      }
      count_bytes(state, 3.0 * double(rows * cols) * sizeof(scalar_of<Be>));
    };
  }
};
struct backward_body {
  template <class Be>
  auto operator()() const {
    return [](benchmark::State& state) {
      Be be;
      const mat<Be> z = random(be, rows, cols, 1);
      const mat<Be> cdf = random(be, rows, cols, 2);
      mat<Be> d = random(be, rows, cols, 3);
      for (auto _ : state) {
        be.apply(nn::gelu_gradient_kernel<scalar_of<Be>>{}, d, z, cdf);
        benchmark::ClobberMemory();
      }
      count_bytes(state, 4.0 * double(rows * cols) * sizeof(scalar_of<Be>));
    };
  }
};

}  // namespace

void register_elementwise() {
  add("gelu_forward", "1M", forward_body{});
  add("gelu_backward", "1M", backward_body{});
}

}  // namespace bench
