// Truncated SVDs: of a product held in factors (three forms, and the automatic choice, on random
// factors and on a preheated pair), and of a dense matrix, exact, randomized and by a Krylov space.
#include <algorithm>
#include <cmath>
#include <vector>

#include "bench.hpp"

namespace bench {

namespace {

using linalg::factored_form;

struct factored_body {
  index_t size, R, r;
  factored_form form;
  bool preheated = false;  // columns of B fall by a factor of a million, as after a few steps
  template <class Be>
  auto operator()() const {
    return [*this](benchmark::State& state) {
      Be be;
      mat<Be> B = random(be, size, R, 1);
      const mat<Be> A = random(be, R, size, 2);
      if (preheated) {
        std::vector<scalar_of<Be>> sizes;
        for (index_t j = 0; j < R; ++j) {
          sizes.push_back(scalar_of<Be>(std::pow(1e-6, double(j) / double(R))));
        }
        mat<Be> d = be.zeros(R, 1);
        be.upload(sizes, d);
        be.scale_cols(d, B);
      }
      for (auto _ : state) {
        auto d = linalg::factored_svd<Be>(be, B, A, r, generator(3), form);
        benchmark::DoNotOptimize(d.S.data());
      }
      count_bytes(state, double(2 * size * (R + r)) * sizeof(scalar_of<Be>));
    };
  }
};

void add_factored(const std::string& suffix, index_t size, index_t R, index_t r) {
  const std::string shape =
      std::to_string(size) + "_R" + std::to_string(R) + "_to_" + std::to_string(r) + suffix;
  add("factored_svd_automatic", shape, factored_body{size, R, r, factored_form::automatic});
  add("factored_svd_gram", shape, factored_body{size, R, r, factored_form::gram});
  add("factored_svd_wide_gram", shape, factored_body{size, R, r, factored_form::wide_gram});
  add("factored_svd_qr", shape, factored_body{size, R, r, factored_form::qr});
  add("factored_svd_preheated", shape, factored_body{size, R, r, factored_form::automatic, true});
}

// The SVD of a dense matrix by svd(be, W, r). `products` with W of `columns` columns each; 0: exact.
template <class Svd>
struct dense_body {
  Svd svd;
  index_t m, n, r;
  double products = 0;
  double columns = 0;
  template <class Be>
  auto operator()() const {
    return [*this](benchmark::State& state) {
      Be be;
      const mat<Be> W = random(be, m, n, 1);
      for (auto _ : state) {
        auto d = svd(be, W, r);
        benchmark::DoNotOptimize(d.S.data());
      }
      if (products > 0) {
        count_flops(state, products * columns * 2.0 * double(m) * double(n));
      } else {
        count_bytes(state, double(m * n) * sizeof(scalar_of<Be>));
      }
    };
  }
};
struct by_power_iterations {
  template <class Be>
  auto operator()(Be& be, const mat<Be>& W, index_t r) const {
    return linalg::randomized_svd<Be>(be, W, r, linalg::randomized_options{}, generator(2));
  }
};
struct by_krylov {
  template <class Be>
  auto operator()(Be& be, const mat<Be>& W, index_t r) const {
    return linalg::krylov_svd<Be>(be, W, r, linalg::krylov_options{}, generator(2));
  }
};
struct exactly {
  template <class Be>
  auto operator()(Be& be, const mat<Be>& W, index_t r) const {
    return linalg::truncated_svd<Be>(be, W, r);
  }
};

void add_randomized(const std::string& suffix, index_t m, index_t n, index_t r) {
  const std::string shape =
      std::to_string(m) + "x" + std::to_string(n) + "_r" + std::to_string(r) + suffix;
  const linalg::randomized_options power;
  const linalg::krylov_options krylov;
  add("randomized_svd", shape,
      dense_body<by_power_iterations>{
          {}, m, n, r, 2.0 * double(power.power_iterations + 1), double(r + power.oversampling)});
  add("krylov_svd", shape,
      dense_body<by_krylov>{
          {}, m, n, r, 2.0 * double(krylov.depth + 1), double(std::max<index_t>(r, 16))});
}

// ------------------------------------------------------------------------------- starts of a layer

template <class Init>
struct pissa_body {
  Init init;
  index_t m, n, r;
  template <class Be>
  auto operator()() const {
    return [*this](benchmark::State& state) {
      Be be;
      const mat<Be> W = random(be, m, n, 1);
      const target_layer<Be> s{.W = W, .rank = r, .scaling = 2, .gen = generator(2)};
      for (auto _ : state) {
        auto f = init(be, s);
        benchmark::DoNotOptimize(f.A.data());
      }
      count_bytes(state, double(m * n + r * (m + n)) * sizeof(scalar_of<Be>));
    };
  }
};

struct hrp_body {
  index_t m, n, R, r;
  template <class Be>
  auto operator()() const {
    return [*this](benchmark::State& state) {
      Be be;
      const mat<Be> W = be.zeros(m, n);
      const factors<Be> preheated{random(be, R, n, 1), random(be, m, R, 2)};
      const target_layer<Be> s{.W = W, .rank = r, .scaling = 2, .gen = generator(3)};
      const init::hrp<> init;
      for (auto _ : state) {
        auto f = init(be, s, preheated);
        benchmark::DoNotOptimize(f.A.data());
      }
      count_bytes(state, double((R + r) * (m + n)) * sizeof(scalar_of<Be>));
    };
  }
};

}  // namespace

void register_factorizations() {
  add_factored("", 768, 64, 16);
  add_factored("", 4096, 128, 16);
  add_randomized("", 768, 768, 16);
  add_randomized("", 3072, 768, 16);
  add_randomized("_large", 4096, 4096, 16);
  add("exact_svd", "256x256_r16", dense_body<exactly>{{}, 256, 256, 16});
  add("init_pissa", "768x768_r16", pissa_body<init::pissa>{{}, 768, 768, 16});
  add("init_pissa_randomized", "768x768_r16", pissa_body<init::pissa_randomized>{{}, 768, 768, 16});
  add("init_hrp", "768x768_R64_to_16", hrp_body{768, 768, 64, 16});
  add("init_hrp", "4096x4096_R128_to_16", hrp_body{4096, 4096, 128, 16});
  add("init_hrp", "11008x4096_R256_to_16_large", hrp_body{11008, 4096, 256, 16});
}

}  // namespace bench
