// LoRA-One (Zhang, Liu, Chen, "LoRA-One: One-Step Full Gradient Could Suffice for Fine-Tuning Large
// Language Models, Provably and Efficiently", arXiv 2502.01235). One step of full fine-tuning goes
// along −G; start from its best rank-r part. With −G = U·S·Vᵀ (m×n),
//
//   A = √(S_r/S₀)·V_rᵀ/√γ,  B = U_r·√(S_r/S₀)/√γ,  so that  B·A = (−G)_r/(γ·S₀),
//
// r×n and m×r. γ = 128 as a reimplementation has it (the authors' example: 64). W is left alone: the
// output moves by s·B·A. The paper also trains with preconditioned factor gradients: add
// optim::scaled<optim::adamw>.
//
// Evidence: the SVD of G, at least r triplets, from dense_gradient exactly or from
// sketched_gradient without any m×n matrix. Errors: r > min(m, n); γ <= 0; NaN.
// A direction whose S_i is zero to rounding would start with both factors at nothing and never
// move: it gets V_i/√γ in A and zeros in B instead (ours). So a zero gradient starts like LoRA:
// random orthonormal directions, product zero.
// Cost: gradient.cost() steps, then O((m + n)·r) a layer.
#pragma once
#include <cmath>
#include <vector>

#include "gradient_evidence.hpp"

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
  using hooks = hook_list<>;
  static constexpr start product = start::added;
  static constexpr evidence_kind needs = evidence_kind::gradient;
  template <class Be>
  using evidence = svd_result<mat<Be>>;

  Gradient gradient{};
  double gamma = 128;

  index_t cost(index_t) const { return gradient.cost(); }

  template <class Scene>
  auto gather(Scene& scene) const {
    return gradient.leading(scene,
                            wanted_triplets(scene, 1, "init::lora_one: rank <= min(out, in)"));
  }

  // The start of one layer from the SVD of its gradient.
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const svd_result<mat<Be>>& g) const {
    using T = scalar_of<Be>;
    require(gamma > 0, "init::lora_one: gamma > 0", gamma, 0.0);
    require_gradient(be, s, g, s.rank, "init::lora_one");
    const T largest = be.max_abs(g.S);
    const T cutoff = zero_to_rounding(s, largest);
    const T one = T(1 / std::sqrt(gamma));
    mat<Be> share_a = clone<Be>(be, in<Be>(g.S).row_range(0, s.rank));
    mat<Be> share_b = clone<Be>(be, share_a);
    be.each(spectral_share<T>{largest, cutoff, 1}, share_a);
    be.each(spectral_share<T>{largest, cutoff, 0}, share_b);
    be.each(linalg::scale<T>{one}, share_a);
    be.each(linalg::scale<T>{-one}, share_b);  // −G = (−U)·S·Vᵀ

    mat<Be> V = clone<Be>(be, in<Be>(g.V).col_range(0, s.rank));
    mat<Be> B = clone<Be>(be, in<Be>(g.U).col_range(0, s.rank));
    be.scale_cols(share_a, V);
    be.scale_cols(share_b, B);
    return {linalg::transposed<Be>(be, V), std::move(B)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const site<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::lora_one needs a gradient. Call fit(method, network, batches, "
                  "options), which gathers it, or pass the SVD of the layer's gradient, r triplets "
                  "or more, as the third argument");
    return {};
  }
};

}  // namespace preheat::init
