// LoRA-DA (Zhang, Chu, Peng, Li, Luo, Jiang, Huang, "LoRA-DA: Data-Aware Initialization for Low-Rank
// Adaptation via Asymptotic Analysis", arXiv 2510.24561). A natural gradient step D says where the target
// lies, and a few of its directions are kept: those where what they miss of D (bias) and what a finite sample
// makes uncertain (variance) are least together. With the mean gradient G (m×n), the inputs x and the
// outputs' gradients δ of all tokens of a few batches,
//
//   Z = mean x·xᵀ + ε·I (n×n),  y = mean δ² + ε (m),   D = −diag(1/y)·G·Z⁻¹,  D ← D/σ with σ = σ₁(D)
//   Γ = −DᵀD + β·(Σᵢ 1/yᵢ/N)/σ²·Z⁻¹,   V = its r eigenvectors of the least eigenvalues
//   A = Vᵀ/√γ (r×n),  B = D·V/√γ (m×r)
//
// Formulas and defaults are the authors' code's (github.com/zqy0126/LoRA-DA): β 0.03, γ 1024, ε 1e-6, N the
// number of samples of the training set (100,000 there), s = α/√r, W unchanged; its options for other
// normalizations, balanced factors and a sketched Fisher matrix are not here. There G and the means come
// from 256 samples one by one. [preheat] Here from `batches` batches, whose loss is a mean: δ then is that
// of the mean, and ε weighs accordingly. Exact eigenvectors where the code iterates [preheat]. A zero
// gradient gives A from the variance alone and B = 0.
//
// Errors: rank < 1 or > min(m, n); a setting <= 0 (β may be 0); NaN. Means that are not finite set the
// context's status. Cost: `batches` steps, m·n + n² + m numbers per layer; then O(n³ + m·n·min(m, n)).
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "../linalg/symmetric.hpp"
#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

// Of one layer: the mean gradient G (m×n), mean x·xᵀ (n×n) and mean δ² (m×1).
template <class Be>
struct gradient_and_fisher {
  mat<Be> G, Z, y;
};

template <class T>
struct square {
  constexpr void operator()(T& x) const { x = x * x; }
};
// x = 1/(x + damping)
template <class T>
struct inverse_of_sum {
  T damping;
  constexpr void operator()(T& x) const { x = 1 / (x + damping); }
};

struct lora_da {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;
  template <class Be>
  using calibration = gradient_and_fisher<Be>;

  index_t batches = 8;
  double variance = 0.03;   // β
  double population = 1e5;  // N
  double gamma = 1024;
  double damping = 1e-6;  // ε

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<gradient_and_fisher<Be>> calibrate(Context& context) const {
    using T = scalar_of<Be>;
    require(batches >= 1, "init::lora_da: batches >= 1", batches, 1);
    Be& be = context.backend();
    std::vector<gradient_and_fisher<Be>> all(context.layers().size());
    std::vector<index_t> tokens(all.size(), 0);
    for (const index_t l : context.targets) {
      const auto& W = context.layers()[l].W;
      all[l] = {be.zeros(W.rows(), W.cols()), be.zeros(W.cols(), W.cols()), be.zeros(W.rows(), 1)};
    }
    context.watch_gradients(batches, [&](index_t l, const_view_of<Be> X, const_view_of<Be> dY) {
      be.gemm(T(1) / T(batches), transpose::no, dY, transpose::yes, X, 1, all[l].G);
      be.gemm(1, transpose::no, X, transpose::yes, X, 1, all[l].Z);
      be.add_row_dots(1, dY, dY, all[l].y);
      tokens[l] += X.cols();
    });
    for (const index_t l : context.targets) {
      const linalg::scale<T> mean{1 / T(std::max<index_t>(tokens[l], 1))};
      be.apply(mean, all[l].Z);
      be.apply(mean, all[l].y);
      for (const mat<Be>* x : {&all[l].G, &all[l].Z, &all[l].y}) {
        context.require_finite(*x);
      }
    }
    return all;
  }

  // The start of one layer from its means.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s,
                         const gradient_and_fisher<Be>& seen) const {
    using T = scalar_of<Be>;
    check(be, s, seen);
    const index_t m = s.W.rows(), n = s.W.cols();
    mat<Be> inverse_y = clone<Be>(be, seen.y);
    be.apply(inverse_of_sum<T>{T(damping)}, inverse_y);
    const mat<Be> inverse_z =
        linalg::damped_pinv(be, linalg::symmetric_eigen<Be>(be, seen.Z), damping);
    mat<Be> D = linalg::product<Be>(be, transpose::no, seen.G, transpose::no, inverse_z, T(-1));
    be.scale_rows(inverse_y, D);
    const double sigma = double(be.max_abs(linalg::truncated_svd<Be>(be, D, 1).S));
    if (sigma > 0) {
      be.apply(linalg::scale<T>{T(1 / sigma)}, D);
    }

    mat<Be> ones = be.zeros(m, 1);
    be.fill(1, ones);
    const double uncertain = double(be.dot(ones, inverse_y)) / population;
    const double over = sigma > 0 ? sigma * sigma : 1;
    mat<Be> guidance = linalg::product<Be>(be, transpose::yes, D, transpose::no, D, T(-1));
    be.apply(linalg::axpby<T>{T(variance * uncertain / over), 1}, guidance, inverse_z);

    const eigh_result<mat<Be>> e = linalg::symmetric_eigen<Be>(be, guidance);
    const const_view_of<Be> V = view(e.vectors).col_range(0, s.rank);
    const T share = T(1 / std::sqrt(gamma));
    mat<Be> A = be.zeros(s.rank, n);
    be.copy(transpose::yes, V, A);
    be.apply(linalg::scale<T>{share}, A);
    return {std::move(A), linalg::product<Be>(be, transpose::no, D, transpose::no, V, share)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::lora_da needs gradients. Call fit(method, network, batches, "
                  "options), which computes them, or pass a gradient_and_fisher<Be> of the layer "
                  "as the third argument");
    return {};
  }

 private:
  template <backend Be>
  void check(Be& be, const target_layer<Be>& s, const gradient_and_fisher<Be>& seen) const {
    const index_t m = s.W.rows(), n = s.W.cols();
    require(1 <= s.rank && s.rank <= std::min(m, n), "init::lora_da: 1 <= rank <= min(out, in)",
            s.rank, std::min(m, n));
    require(gamma > 0 && damping > 0, "init::lora_da: gamma, damping > 0", gamma, damping);
    require(variance >= 0 && population > 0, "init::lora_da: variance >= 0, population > 0",
            variance, population);
    require(seen.G.rows() == m && seen.G.cols() == n, "init::lora_da: the gradient is out x in",
            seen.G.rows(), m);
    require(seen.Z.rows() == n && seen.y.rows() == m,
            "init::lora_da: Fisher factors of in and of out", seen.Z.rows(), n);
    linalg::require_finite(be, seen.G, "init::lora_da: the gradient");
    linalg::require_finite(be, seen.Z, "init::lora_da: the inputs' factor");
    linalg::require_finite(be, seen.y, "init::lora_da: the outputs' factor");
  }
};

}  // namespace preheat::init
