// LoRA-SB (Ponkshe, Singhal, Gorbunov, Tumanov, Horvath, Vepakomma, "Initialization using Update
// Approximation is a Silver Bullet for Extremely Efficient Low-Rank Fine-Tuning", arXiv 2411.19557).
// For adapter::xs, which trains the r×r core R between a frozen A and a frozen B. The first step of
// Adam on the whole weight would be
//
//   D = −η·sign(G)  (m×n),   G the gradient summed over a few batches,
//
// and the start is its best rank-r part: with D = U·S·Vᵀ,
//
//   B = U_r (m×r),  R = S_r/s (r×r, diagonal),  A = V_rᵀ (r×n),  so that  s·B·R·A = D_r.
//
// The paper has s = 1 (scaling::constant(1)); the division keeps the start at any s. W is left
// alone: the output moves. The sign acts on single entries, so G is held, m×n, one a started layer:
// this init cannot start from a sketch.
//
// η: empty takes the main run's base rate, which is ours; the authors' scripts take the rate of the
// first step of warm-up, the base rate over the warm-up steps. The number of batches is ours too.
// Evidence: D, m×n. Errors: r > min(m, n); η <= 0; s <= 0; NaN. An entry of G that is zero gives a
// zero of D; a zero gradient gives random orthonormal A and B, and R = 0.
// Cost: `batches` steps; memory m·n a layer; an exact SVD, O(m·n·min(m, n)).
#pragma once
#include <optional>
#include <utility>
#include <vector>

#include "gradient_evidence.hpp"

namespace preheat::init {

// x = −eta·sign(x), sign(0) = 0
template <class T>
struct sign_step {
  T eta;
  constexpr void operator()(T& x) const { x = x > 0 ? -eta : (x < 0 ? eta : T(0) * x); }
};

struct lora_sb {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::added;
  static constexpr evidence_kind needs = evidence_kind::gradient;
  template <class Be>
  using evidence = mat<Be>;  // D

  index_t batches = 8;
  std::optional<double> eta{};

  index_t cost(index_t) const { return batches; }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<mat<Be>> gather(Scene& scene) const {
    const double rate = eta.value_or(scene.learning_rate);
    require(rate > 0, "init::lora_sb: eta > 0", rate, 0.0);
    std::vector<mat<Be>> D = mean_gradients(scene, batches);
    for (const index_t l : scene.layers) {
      scene.backend().each(sign_step<scalar_of<Be>>{scalar_of<Be>(rate)}, D[std::size_t(l)]);
    }
    return D;
  }

  // The start of one layer from the step D.
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const mat<Be>& D) const {
    using T = scalar_of<Be>;
    require(s.scaling > 0, "init::lora_sb: scaling > 0", s.scaling, T(0));
    require(D.rows() == s.W.rows(), "init::lora_sb: rows of D = out of W", D.rows(), s.W.rows());
    require(D.cols() == s.W.cols(), "init::lora_sb: columns of D = in of W", D.cols(), s.W.cols());
    svd_result<mat<Be>> d = gradient_svd<Be>(be, D, s.rank, s.gen);
    mat<Be> R = be.zeros(s.rank, s.rank);
    for (index_t i = 0; i < s.rank; ++i) {
      be.copy(op::none, view(d.S).row_range(i, 1), view(R).block(i, i, 1, 1));
    }
    be.each(linalg::scale<T>{1 / s.scaling}, R);
    return {linalg::transposed<Be>(be, d.V), std::move(d.U), std::move(R)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const site<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::lora_sb needs a gradient. Call fit(method, network, batches, "
                  "options), which gathers it, or pass D = -eta*sign(G), m×n, as the third "
                  "argument");
    return {};
  }
};

}  // namespace preheat::init
