// LoRA-One (Zhang, Liu, Chen, "LoRA-One: One-Step Full Gradient Could Suffice for Fine-Tuning Large
// Language Models, Provably and Efficiently", arXiv 2502.01235). One step of full fine-tuning
// changes W along −G; the factors start from the best rank-r approximation of −G. With −G = U·S·Vᵀ
// (m×n),
//
//   A = √(S_r/S₀)·V_rᵀ/√γ,  B = U_r·√(S_r/S₀)/√γ,  so that  B·A = (−G)_r/(γ·S₀),
//
// of shapes r×n and m×r. γ = 128 with s = α/√r, the settings of the authors' code
// (github.com/kyoonji/LoRA_initialization). W is unchanged, so the output changes by s·B·A.
// [paper] also trains with preconditioned factor gradients: add optim::scaled<optim::adamw>.
//
// Calibration: the SVD of G, at least r triplets, from dense_gradient exactly or from
// sketched_gradient without any m×n matrix. Errors: r > min(m, n); γ <= 0; NaN. A singular vector
// whose S_i is zero to rounding would give zeros in both factors, which then never change.
// [preheat] It gives V_i/√γ in A and zeros in B instead. So a zero gradient gives random
// orthonormal rows of A and B = 0, as in LoRA. Cost: gradient.calibration_steps() steps, then O((m
// + n)·r) per layer.
#pragma once
#include <cmath>
#include <vector>

#include "gradient_calibration.hpp"

namespace preheat::init {

// x = √(x/largest), or `instead` where x is at most `cutoff`
template <class T>
struct spectral_share {
  T largest, cutoff, instead;
  constexpr void operator()(T& x) const { x = x > cutoff ? std::sqrt(x / largest) : instead; }
};

template <class Gradient = dense_gradient>
struct lora_one {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;
  template <class Be>
  using calibration = svd_result<mat<Be>>;

  Gradient gradient{};
  double gamma = 128;

  index_t calibration_steps(index_t) const { return gradient.calibration_steps(); }

  template <class Context>
  auto calibrate(Context& context) const {
    return gradient.leading(context,
                            wanted_triplets(context, 1, "init::lora_one: rank <= min(out, in)"));
  }

  // The start of one layer from the SVD of its gradient.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const svd_result<mat<Be>>& g) const {
    using T = scalar_of<Be>;
    require(gamma > 0, "init::lora_one: gamma > 0", gamma, 0.0);
    require_gradient(be, s, g, s.rank, "init::lora_one");
    const T largest = be.max_abs(g.S);
    const T cutoff = zero_to_rounding(s, largest);
    const T one = T(1 / std::sqrt(gamma));
    mat<Be> share_a = clone(be, const_view_of<Be>(g.S).row_range(0, s.rank));
    mat<Be> share_b = clone(be, share_a);
    be.apply(spectral_share<T>{largest, cutoff, 1}, share_a);
    be.apply(spectral_share<T>{largest, cutoff, 0}, share_b);
    be.apply(linalg::scale<T>{one}, share_a);
    be.apply(linalg::scale<T>{-one}, share_b);  // −G = (−U)·S·Vᵀ

    mat<Be> V = clone(be, const_view_of<Be>(g.V).col_range(0, s.rank));
    mat<Be> B = clone(be, const_view_of<Be>(g.U).col_range(0, s.rank));
    be.scale_cols(share_a, V);
    be.scale_cols(share_b, B);
    return {linalg::transposed(be, V), std::move(B)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::lora_one needs a gradient. Call fit(method, network, batches, "
        "options), which computes it, or pass the SVD of the layer's gradient, r triplets "
        "or more, as the third argument");
    return {};
  }
};

}  // namespace preheat::init
