// LoRA-Null (Tang et al., "LoRA-Null: Low-Rank Adaptation via Null Space for Large Language Models", arXiv
// 2503.02659; version 2: "Put the Space of LoRA Initialization to the Extreme to Preserve Pre-trained
// Knowledge"). The adapter starts from the part of W that acts where the inputs hardly ever are:
//
//   C = covariance of the layer's input (n×n),  N = its r eigenvectors of the least eigenvalues (n×r)
//   W·N·Nᵀ = U·S·Vᵀ,   A = √(S/s)·Vᵀ (r×n),  B = U·√(S/s) (m×r),   W ← W − s·B·A
//
// as in a public copy of the code (liangrui/LoRA-Null, "singular_aware"), which takes s = 1 and 256 samples.
// [preheat] The number of batches is a setting; s divides as for PiSSA. The paper's inputs are those of data
// that show what the model knew before, and `fit` takes them from the batches that it trains on: for the
// paper's purpose pass your own covariance as the third argument. The paper's variant with A frozen is
// refused, as every start with a product is (pissa_half_frozen).
//
// Singular values of zero (a W·N without full rank) give zero in both factors, which then cannot learn.
// Errors: rank < 1 or > min(m, n); s <= 0; batches < 1; NaN. A C that is not finite sets the context's
// status. Cost: `batches` steps (init/input_covariance.hpp); then O(n³ + m·n·r) per layer.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "../linalg/balanced_factors.hpp"
#include "../linalg/symmetric.hpp"
#include "input_covariance.hpp"

namespace preheat::init {

struct lora_null {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::residual;
  template <class Be>
  using calibration = mat<Be>;  // C, n×n

  index_t batches = 8;

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context>
  auto calibrate(Context& context) const {
    require(batches >= 1, "init::lora_null: batches >= 1", batches, 1);
    return input_covariances(context, batches);
  }

  // The start of one layer from the covariance of its input.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>& C) const {
    const index_t room = std::min(s.W.rows(), s.W.cols());
    require(1 <= s.rank && s.rank <= room, "init::lora_null: 1 <= rank <= min(out, in)", s.rank,
            room);
    require(C.rows() == s.W.cols() && C.cols() == C.rows(),
            "init::lora_null: the covariance is in x in of W", C.rows(), s.W.cols());
    linalg::require_finite(be, C, "init::lora_null: the covariance");
    const eigh_result<mat<Be>> e = be.eigh(C);  // increasing
    const const_view_of<Be> N = view(e.vectors).col_range(0, s.rank);
    const mat<Be> inner = linalg::product<Be>(be, transpose::no, s.W, transpose::no, N);
    svd_result<mat<Be>> d = be.svd(inner);  // of W·N, so that V is N times its right vectors
    d.V = linalg::product<Be>(be, transpose::no, N, transpose::no, d.V);
    return linalg::balanced_factors(be, std::move(d), s.scaling);
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::lora_null needs the covariance of the layer's input. Call fit(method, "
        "network, batches, options), which computes it, or pass it, n×n, as the third argument");
    return {};
  }
};

}  // namespace preheat::init
