// LoRA-SB (Ponkshe, Singhal, Gorbunov, Tumanov, Horvath, Vepakomma, "Initialization using Update
// Approximation is a Silver Bullet for Extremely Efficient Low-Rank Fine-Tuning", arXiv
// 2411.19557). For adapter::xs, which trains the r×r core R between a frozen A and a frozen B. The
// first step of Adam on the whole weight would be
//
//   D = −η·sign(G)  (m×n),   G the gradient summed over a few batches,
//
// and the start is its best rank-r approximation: with D = U·S·Vᵀ,
//
//   B = U_r (m×r),  R = S_r/s (r×r, diagonal),  A = V_rᵀ (r×n),  so that  s·B·R·A = D_r.
//
// [paper] has s = 1 (scaling::constant(1)); the division by s gives the same start for any s. W is
// unchanged, so the output changes. The sign acts on single entries, so G is stored, m×n for every
// started layer, and this init cannot start from a sketch.
//
// [preheat] An empty η is the main run's base rate; the authors' scripts use the rate of the first
// step of warm-up, the base rate over the warm-up steps. [preheat] The number of batches is a
// setting. Calibration: D, m×n. Errors: r > min(m, n); η <= 0; s <= 0; NaN. A zero entry of G gives
// a zero entry of D; a zero gradient gives random orthonormal A and B, and R = 0. Cost: `batches`
// steps; memory m·n per layer; an exact SVD, O(m·n·min(m, n)).
#pragma once
#include <optional>
#include <utility>
#include <vector>

#include "gradient_calibration.hpp"

namespace preheat::init {

// x = −eta·sign(x), sign(0) = 0
template <class T>
struct sign_step {
  T eta;
  constexpr void operator()(T& x) const { x = x > 0 ? -eta : (x < 0 ? eta : T(0) * x); }
};

struct lora_sb {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;
  template <class Be>
  using calibration = mat<Be>;  // D

  index_t batches = 8;
  std::optional<double> eta{};

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<mat<Be>> calibrate(Context& context) const {
    const double rate = eta.value_or(context.learning_rate);
    require(rate > 0, "init::lora_sb: eta > 0", rate, 0.0);
    std::vector<mat<Be>> D = mean_gradients(context, batches);
    for (const index_t l : context.targets) {
      context.backend().apply(sign_step<scalar_of<Be>>{scalar_of<Be>(rate)}, D[l]);
    }
    return D;
  }

  // The start of one layer from the step D.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>& D) const {
    using T = scalar_of<Be>;
    require(s.scaling > 0, "init::lora_sb: scaling > 0", s.scaling, T(0));
    require(D.rows() == s.W.rows(), "init::lora_sb: rows of D = out of W", D.rows(), s.W.rows());
    require(D.cols() == s.W.cols(), "init::lora_sb: columns of D = in of W", D.cols(), s.W.cols());
    svd_result<mat<Be>> d = gradient_svd(be, D, s.rank, s.gen);
    mat<Be> R = be.zeros(s.rank, s.rank);
    for (index_t i = 0; i < s.rank; ++i) {
      be.copy(transpose::no, view(d.S).row_range(i, 1), view(R).block(i, i, 1, 1));
    }
    be.apply(linalg::scale<T>{1 / s.scaling}, R);
    return {linalg::transposed(be, d.V), std::move(d.U), std::move(R)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::lora_sb needs a gradient. Call fit(method, network, batches, "
                  "options), which computes it, or pass D = -eta*sign(G), m×n, as the third "
                  "argument");
    return {};
  }
};

}  // namespace preheat::init
