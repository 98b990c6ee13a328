// GoRA (He, Ye, Ren et al., "GoRA: Gradient-driven Adaptive Low Rank Adaptation", NeurIPS 2025, arXiv
// 2502.12171): from the mean gradient G (m×n) of a few batches it gives ranks to the layers, and starts
// each adapter from the best approximation of a gradient step in a random row space:
//
//   importance i_l = mean |W ⊙ G|,   p_l = i_l/Σ i,   f_l = √(m_l + n_l)
//   r_l = ⌊round(r·Σ f·p_l)/f_l⌋, clamped to [least·r, most·r] and to [1, min(m_l, n_l)]
//   A ~ U(±1/√n) (r_l×n),   s·B·A = −η·√(n/r_l)·G·H_A,  H_A = Aᵀ(AAᵀ + 1e-8·I)⁺A;   W is unchanged
//
// Formulas as in the authors' code (github.com/hhnqqq/MyTransformers), from its options: importance
// "union_mean", features by the root, "moderate" rounding, and the size of B by the learning rate; which of
// its options the paper's tables used is not known here. A layer keeps the s of its former rank, as there
// by default. [preheat] η = 0 is the main run's rate; least = ½, most = 4; 8 batches; with a gradient of
// zeros in all layers the ranks stay.
//
// Calibration: the step −η·G of every layer. Errors: a setting out of range; s <= 0; NaN. A gradient that is
// not finite sets the context's status. Cost: `batches` steps and m·n numbers per layer; then O(m·n·r).
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "../linalg/random_matrix.hpp"
#include "../linalg/symmetric.hpp"
#include "gradient_calibration.hpp"

namespace preheat::init {

// x = |x·y|
template <class T>
struct magnitude_of_product {
  constexpr void operator()(T& x, const T& y) const { x = x * y < 0 ? -(x * y) : x * y; }
};

struct gora {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::nonzero;
  template <class Be>
  using calibration = mat<Be>;  // −η·G, m×n

  index_t batches = 8;
  double eta = 0;      // 0: the main run's learning rate
  double least = 0.5;  // ranks, as shares of the run's rank
  double most = 4;
  bool redistribute = true;

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<mat<Be>> calibrate(Context& context) const {
    require(eta >= 0 && std::isfinite(eta), "init::gora: 0 <= eta < infinity", eta, 0.0);
    require(0 < least && least <= most, "init::gora: 0 < least <= most", least, most);
    std::vector<mat<Be>> G = mean_gradients(context, batches);
    if (context.ended()) {
      return G;
    }
    if (redistribute) {
      context.ranks = ranks_by_importance(context, G);
    }
    const double step = eta > 0 ? eta : context.learning_rate;
    for (const index_t l : context.targets) {
      context.backend().apply(linalg::scale<scalar_of<Be>>{scalar_of<Be>(-step)}, G[l]);
    }
    return G;
  }

  // The start of one layer from its step.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const mat<Be>& step) const {
    using T = scalar_of<Be>;
    const index_t n = s.W.cols();
    require(s.rank >= 1 && s.scaling > 0, "init::gora: rank >= 1, scaling > 0", double(s.rank),
            double(s.scaling));
    require(step.rows() == s.W.rows() && step.cols() == n, "init::gora: the step is out x in",
            step.cols(), n);
    linalg::require_finite(be, step, "init::gora: the step");
    mat<Be> A = linalg::uniform(be, s.rank, n, 1 / std::sqrt(double(n)), s.gen);
    const mat<Be> inverse = linalg::damped_pinv(
        be, linalg::symmetric_eigen<Be>(be, linalg::gram<Be>(be, transpose::no, A)), 1e-8);
    const mat<Be> projected = linalg::product<Be>(be, transpose::no, step, transpose::yes, A);
    const double size = std::sqrt(double(n) / double(s.rank)) / double(s.scaling);
    return {std::move(A),
            linalg::product<Be>(be, transpose::no, projected, transpose::no, inverse, T(size))};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::gora needs a gradient. Call fit(method, network, batches, "
                  "options), which computes it, or pass the step −η·G of the layer as the third "
                  "argument");
    return {};
  }

 private:
  template <class Context, class Be = typename Context::backend_type>
  std::vector<index_t> ranks_by_importance(Context& context, const std::vector<mat<Be>>& G) const {
    using T = scalar_of<Be>;
    Be& be = context.backend();
    std::vector<double> importance(G.size(), 0), features(G.size(), 0);
    double total = 0, budget = 0;
    for (const index_t l : context.targets) {
      const index_t m = G[l].rows(), n = G[l].cols();
      mat<Be> sensitivity = clone<Be>(be, G[l]);
      be.apply(magnitude_of_product<T>{}, sensitivity, const_view_of<Be>(context.layers()[l].W));
      mat<Be> ones = be.zeros(m, n);
      be.fill(1, ones);
      importance[l] = double(be.dot(sensitivity, ones)) / double(m * n);
      features[l] = std::sqrt(double(m + n));
      total += importance[l];
      budget += features[l] * double(context.ranks[l]);
    }
    std::vector<index_t> ranks = context.ranks;
    for (const index_t l : context.targets) {
      if (!(total > 0)) {
        break;
      }
      const double r = double(ranks[l]);
      const double share = std::nearbyint(budget * importance[l] / total);
      const double wanted =
          std::clamp(std::floor(share / features[l]), std::floor(least * r), std::ceil(most * r));
      const index_t room = std::min(G[l].rows(), G[l].cols());
      ranks[l] = std::clamp<index_t>(index_t(wanted), 1, room);
    }
    return ranks;
  }
};

}  // namespace preheat::init
