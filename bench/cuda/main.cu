// The benches of the CUDA backend, one program for float, double and bfloat16 storage:
//
//   preheat_cuda_bench [--benchmark_filter=REGEX …]
//
// Times are the device's, between two events in the context's stream; where the work waits for the
// host they contain that wait. Before each run the L2 cache is flushed, as in a training step, where
// the other layers have passed through it since. FLOP/s counts multiplications and additions,
// bytes/s what must be read and written at least. Without a device it says why and exits with 77.
#include <cuda_bf16.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <preheat/cuda/adapted_linear.hpp>
#include <preheat/cuda/backend.hpp>

#include "../bench.hpp"
#include "stopwatch.hpp"

namespace {

using namespace preheat;
using bench::count_bytes;
using bench::count_flops;
using bench::random;
using detail::check;

template <class Work>
void measure(const std::shared_ptr<const cuda_context>& context, benchmark::State& state,
             Work work) {
  bench::stopwatch watch(context);
  work();  // libraries load their kernels, and memory is allocated
  for (auto _ : state) {
    state.SetIterationTime(1e-3 * watch.milliseconds(work));
  }
}

template <class Storage>
struct storage;  // the scalar of the backend that works with it, and its name
template <>
struct storage<float> {
  using scalar = float;
  static constexpr const char* name = "float";
};
template <>
struct storage<double> {
  using scalar = double;
  static constexpr const char* name = "double";
};
template <>
struct storage<__nv_bfloat16> {
  using scalar = float;
  static constexpr const char* name = "bf16";
};
template <class Storage>
using backend_of = cuda<typename storage<Storage>::scalar>;

template <class Storage, class Body>
void add(const std::string& primitive, const std::string& shape, Body body) {
  const std::string name = primitive + "/cuda/" + storage<Storage>::name + "/" + shape;
  benchmark::RegisterBenchmark(name.c_str(), body)->UseManualTime()->Unit(benchmark::kMillisecond);
}

template <class Storage>
cuda_matrix<Storage> stored(backend_of<Storage>& be, index_t m, index_t n, std::uint64_t number) {
  using T = typename storage<Storage>::scalar;
  cuda_matrix<Storage> M(be.context(), m, n);
  be.apply(cuda_kernels::convert<T>{1}, M, random(be, m, n, number));
  return M;
}

// c = op(a)·b with sums and results in the backend's scalar.
template <class Storage>
void product(backend_of<Storage>& be, transpose ta, const cuda_matrix<Storage>& a, transpose tb,
             const cuda_matrix<Storage>& b, cuda_matrix<typename storage<Storage>::scalar>& c) {
  if constexpr (std::is_same_v<Storage, __nv_bfloat16>) {
    const float one = 1;
    const float zero = 0;
    const auto size = [](index_t n) { return detail::library_int(n); };
    check(cublasGemmEx(be.context()->blas(), detail::operation(ta), detail::operation(tb),
                       size(c.rows()), size(c.cols()),
                       size(ta == transpose::no ? a.cols() : a.rows()), &one, a.data(), CUDA_R_16BF,
                       size(a.ld()), b.data(), CUDA_R_16BF, size(b.ld()), &zero, c.data(),
                       CUDA_R_32F, size(c.ld()), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx");
  } else {
    be.gemm(1, ta, a, tb, b, 0, c);
  }
}

template <class Storage>
void add_product(const std::string& what, transpose ta, transpose tb, index_t m, index_t n,
                 index_t k) {
  const std::string shape =
      what + "_" + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
  add<Storage>("gemm", shape, [=](benchmark::State& state) {
    backend_of<Storage> be;
    const auto a =
        ta == transpose::no ? stored<Storage>(be, m, k, 1) : stored<Storage>(be, k, m, 1);
    const auto b =
        tb == transpose::no ? stored<Storage>(be, k, n, 2) : stored<Storage>(be, n, k, 2);
    auto c = be.zeros(m, n);
    measure(be.context(), state, [&] { product<Storage>(be, ta, a, tb, b, c); });
    count_flops(state, 2.0 * double(m) * double(n) * double(k));
    count_bytes(state, double(m * k + k * n) * sizeof(Storage) +
                           double(c.rows() * c.cols()) * sizeof(*c.data()));
  });
}

// ------------------------------------------------------------------------------ the adapted step

struct layer_shape {
  index_t tokens, in, out, rank;
  std::string name() const {
    return "N" + std::to_string(tokens) + "_" + std::to_string(out) + "x" + std::to_string(in) +
           "_r" + std::to_string(rank);
  }
  double frozen_flops() const { return 4.0 * double(tokens) * double(in) * double(out); }
  double flops() const {
    return frozen_flops() + 6.0 * double(tokens) * double(rank) * double(in + out);
  }
};

// The two products with W alone, W·X and Wᵀ·dY: the bound.
template <class Storage>
void add_frozen(const layer_shape& s) {
  add<Storage>("frozen_products", s.name(), [s](benchmark::State& state) {
    backend_of<Storage> be;
    const auto W = stored<Storage>(be, s.out, s.in, 1);
    const auto X = stored<Storage>(be, s.in, s.tokens, 2);
    const auto dY = stored<Storage>(be, s.out, s.tokens, 3);
    auto Y = be.zeros(s.out, s.tokens);
    auto dX = be.zeros(s.in, s.tokens);
    measure(be.context(), state, [&] {
      product<Storage>(be, transpose::no, W, transpose::no, X, Y);
      product<Storage>(be, transpose::yes, W, transpose::no, dY, dX);
    });
    count_flops(state, s.frozen_flops());
  });
}

// Thin products of their own: what `fit` runs.
template <class T>
void add_separate(const layer_shape& s) {
  add<T>("adapted_step_separate", s.name(), [s](benchmark::State& state) {
    using Be = cuda<T>;
    Be be;
    const auto W = random(be, s.out, s.in, 1);
    const auto X = random(be, s.in, s.tokens, 2);
    const auto dY = random(be, s.out, s.tokens, 3);
    auto Y = be.zeros(s.out, s.tokens);
    auto dX = be.zeros(s.in, s.tokens);
    const adapter::lora lora;
    const frozen_linear<Be> base{.W = W, .b = {}, .scaling = 2};
    const auto parameters = lora.start(
        be, base, {random(be, s.rank, s.in, 4), random(be, s.out, s.rank, 5)}, generator());
    auto gradient = zeros_like(be, parameters);
    adapter::lora::saved_activations<Be> saved_activations;
    const layer_input<Be> x{X, X};
    const input_gradient<Be> dx{dX, dX};
    measure(be.context(), state, [&] {
      set_zero(be, gradient);
      lora.forward(be, parameters, base, x, view_of<Be>(Y), saved_activations);
      lora.backward(be, parameters, base, x, const_view_of<Be>(dY), gradient, dx,
                    saved_activations);
    });
    count_flops(state, s.flops());
  });
}

// Thin products folded into the large ones (cuda_adapted_linear), changed factors taken over first.
template <class Storage>
void add_folded(const layer_shape& s) {
  add<Storage>("adapted_step_folded", s.name(), [s](benchmark::State& state) {
    using T = typename storage<Storage>::scalar;
    cuda<T> be;
    cuda_adapted_linear<T, Storage> layer(be, random(be, s.out, s.in, 1),
                                          random(be, s.rank, s.in, 4), random(be, s.out, s.rank, 5),
                                          2, s.tokens);
    be.apply(cuda_kernels::convert<T>{1}, layer.input(), random(be, s.in, s.tokens, 2));
    const auto dY = random(be, s.out, s.tokens, 3);
    measure(be.context(), state, [&] {
      layer.refresh();
      layer.forward();
      layer.backward(dY);
    });
    count_flops(state, s.flops());
  });
}

// ---------------------------------------------------------------- factorizations and optimizers

template <class T>
void add_factored_svd(const std::string& form_name, linalg::factored_form form) {
  add<T>("factored_svd_" + form_name, "4096_R128_to_16", [form](benchmark::State& state) {
    const index_t size = 4096;
    const index_t R = 128;
    const index_t r = 16;
    cuda<T> be;
    const auto B = random(be, size, R, 1);
    const auto A = random(be, R, size, 2);
    measure(be.context(), state, [&] {
      const auto d = linalg::factored_svd<cuda<T>>(be, B, A, r, generator(3), form);
      benchmark::DoNotOptimize(d.S.data());
    });
    count_bytes(state, double(2 * size * (R + r)) * sizeof(T));
  });
}

template <class T>
void add_adamw() {
  add<T>("adamw", "10M", [](benchmark::State& state) {
    using Be = cuda<T>;
    Be be;
    const index_t rows = 3200;
    const index_t cols = 3125;
    const optim::adamw adamw;
    adapter::full::params<Be> parameters{random(be, rows, cols, 1), {}};
    adapter::full::params<Be> gradient{random(be, rows, cols, 2), {}};
    auto moments = adamw.start(be, parameters);
    measure(be.context(), state,
            [&] { adamw.step(be, parameters, gradient, moments, {.learning_rate = adamw.lr}); });
    count_bytes(state, 7.0 * double(rows * cols) * sizeof(T));  // read p, m, v, g; write p, m, v
  });
}

// ------------------------------------------------------------------------------------------ all

template <class Storage>
void add_products_and_steps() {
  const index_t d = 4096;
  const index_t tokens = 4096;
  for (const index_t r : {16, 64}) {
    add_product<Storage>("A.X", transpose::no, transpose::no, r, tokens, d);
    add_product<Storage>("B.H", transpose::no, transpose::no, d, tokens, r);
    add_product<Storage>("dY.Ht", transpose::no, transpose::yes, d, r, tokens);
    add_folded<Storage>({tokens, d, d, r});
  }
  add_product<Storage>("W.X", transpose::no, transpose::no, d, tokens, d);
  add_product<Storage>("Wt.dY", transpose::yes, transpose::no, d, tokens, d);
  add_frozen<Storage>({tokens, d, d, 0});
}
template <class T>
void add_all() {
  add_products_and_steps<T>();
  add_separate<T>({4096, 4096, 4096, 16});
  add_separate<T>({4096, 4096, 4096, 64});
  add_factored_svd<T>("automatic", linalg::factored_form::automatic);
  add_adamw<T>();
}

}  // namespace

int main(int argc, char** argv) {
  if (const std::string reason = preheat::why_no_cuda(); !reason.empty()) {
    const bool needed = std::getenv("PREHEAT_NEED_GPU") != nullptr;
    std::printf("%s: %s\n", needed ? "FAILED: PREHEAT_NEED_GPU is set" : "skipped", reason.c_str());
    return needed ? 1 : 77;
  }
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  benchmark::AddCustomContext("device", device.name);
  benchmark::AddCustomContext("backend", cuda<float>().describe());
  add_all<float>();
  add_all<double>();
  add_factored_svd<float>("wide_gram", linalg::factored_form::wide_gram);
  add_products_and_steps<__nv_bfloat16>();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
