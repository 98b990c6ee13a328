// HRP, High-Rank Preheating (arXiv 2502.07739). Random initialization leads to a random low-rank
// result; a good direction leads to the best one. So: train another method, Warm, at a higher rank
// R for a few steps on the same network and data; take the main singular vectors of its product
// B·A; start the rank-r run from them.
//
//   B·A = U·S·Vᵀ (factored, never formed)
//   side right: A = c·Vᵀ[:r], B = 0        side left: B = c·U[:, :r], A = 0
//
// Only directions are taken: the product is zero, the output unchanged, W bitwise untouched, and
// the optimizer and the schedule start afresh. Steps are charged to the main run.
//
// What the paper's summary leaves open is ours, and an option: Warm trains A with plain SGD at the
// main rate (B frozen, orthonormal; A is then a sketch of the summed gradient, B·A its low-rank
// part); R = 16·r; 1.3 % of the steps, at least 1; c = 1. Chosen by `./run preheat-map`, on digits and
// on teachers of known spectrum: docs/evidence.md.
// Automatic side: the frozen factor of the main adapter if it has one; else the side of Warm's
// trained factor, because only that one has seen the gradient (train A -> right, train B -> left,
// both -> right).
//
// Errors: preheating rank < rank; preheating steps < 1; a side that the adapter cannot use.
// Cost: the warm run, then O((m + n)·R²) a layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "../adapter/asymmetric.hpp"
#include "../linalg/factored_svd.hpp"
#include "../method.hpp"
#include "../optim/sgd.hpp"
#include "one_sided.hpp"
#include "orthogonal.hpp"

namespace preheat::init {

using default_warm = method<adapter::asymmetric<role::A>, init::orthogonal, optim::sgd>;

template <class Warm = default_warm>
struct hrp {
  static_assert(
      Warm::leaves_base,
      "preheat: init::hrp promises to leave W alone; its warm method must neither absorb W "
      "(init::pissa) nor fold into it (a chain)");
  static_assert(Warm::adapter_type::has_factors,
                "preheat: init::hrp reads the product B*A of its warm method; give it one with "
                "factors, such as method<adapter::lora>");

  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::zero;
  static constexpr evidence_kind needs = evidence_kind::preheated_factors;
  template <class Be>
  using evidence = factors<Be>;  // of rank R

  Warm warm{};
  preheat::side side = preheat::side::automatic;
  index_t rank = 0;  // R; 0: `multiple` times the main rank
  index_t multiple = 16;
  std::optional<index_t> steps{};  // preheating steps; empty: `fraction` of all steps, at least 1
  double fraction = 0.013;
  std::optional<double> lr{};    // of Warm; empty: the main run's
  row_norm_rule row_norm = 1.0;  // c; or the expected norm of another init

  // The training steps that gathering takes out of a run of `all` steps.
  index_t cost(index_t all) const {
    require(fraction > 0 && fraction < 1, "0 < fraction of the steps < 1", fraction, 1.0);
    const index_t automatic = std::max<index_t>(1, index_t(std::lround(fraction * double(all))));
    const index_t preheating = steps.value_or(automatic);
    require(preheating >= 1, "preheating steps >= 1", preheating, 1);
    return preheating;
  }

  template <class Scene>
  std::vector<factors<typename Scene::backend_type>> gather(Scene& scene) const {
    const index_t main_rank = *std::max_element(scene.ranks.begin(), scene.ranks.end());
    require(rank >= 0 && multiple >= 1, "preheating rank >= 0, multiple >= 1", rank, multiple);
    const index_t R = rank > 0 ? rank : multiple * main_rank;
    require(R >= main_rank, "preheating rank >= rank", R, main_rank);
    Warm hot = warm;
    learning_rate(hot.optim) = lr.value_or(scene.learning_rate);
    const auto report = scene.train(hot, R, cost(scene.options.steps));

    std::vector<factors<typename Scene::backend_type>> products(scene.net.layers().size());
    for (const auto& l : report.layers) {
      if (!l.attached) {
        continue;
      }
      auto& preheated = products[std::size_t(l.index)];
      preheated = report.adapter.product(scene.backend(), l.parameters);
      scene.require_finite(preheated.A);
      scene.require_finite(preheated.B);
    }
    return products;
  }

  // The start of one layer from its preheated factors (B·A of rank R >= r).
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const factors<Be>& preheated) const {
    require(preheated.B.cols() >= s.rank, "preheating rank >= rank", preheated.B.cols(), s.rank);
    require(preheated.B.rows() == s.W.rows(), "init::hrp: rows of the preheated B = out of W",
            preheated.B.rows(), s.W.rows());
    require(preheated.A.cols() == s.W.cols(), "init::hrp: columns of the preheated A = in of W",
            preheated.A.cols(), s.W.cols());
    const preheat::side chosen = choose_side<Be>(s.directions);
    svd_result<mat<Be>> d = linalg::factored_svd<Be>(be, preheated.B, preheated.A, s.rank, s.gen);
    const bool left = chosen == preheat::side::left;
    mat<Be>& directions = left ? d.U : d.V;
    be.each(linalg::scale<scalar_of<Be>>{scalar_of<Be>(row_norm(s.rank, directions.rows()))},
            directions);
    if (left) {
      return {be.zeros(s.rank, s.W.cols()), std::move(directions)};
    }
    return {linalg::transposed<Be>(be, directions), be.zeros(s.W.rows(), s.rank)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const site<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::hrp needs preheated factors. Call fit(method, network, batches, "
        "options), which preheats, or pass the layer's factors<Be>{A, B} of rank R >= r as "
        "the third argument");
    return {};
  }

 private:
  template <class Be>
  preheat::side choose_side(preheat::side usable) const {
    using warm_params = typename Warm::adapter_type::template params<Be>;
    if (side != preheat::side::automatic) {
      if (usable != preheat::side::automatic && usable != side) {
        const bool right = usable == preheat::side::right;
        throw invalid_argument(std::string("init::hrp: this adapter freezes ") +
                               (right ? "A and takes directions on the right side, not the left"
                                      : "B and takes directions on the left side, not the right") +
                               ": leave the side automatic");
      }
      return side;
    }
    if (usable != preheat::side::automatic) {
      return usable;
    }
    return trains<warm_params>(role::A) ? preheat::side::right : preheat::side::left;
  }
};

}  // namespace preheat::init
