// HRP, High-Rank Preheating (arXiv 2502.07739v3). Random initialization leads to a random low-rank
// result; a good direction leads to the best one. The init therefore trains another method, Preheat,
// at a higher rank R for a few steps on the same network and data, takes the main singular vectors
// of its product B·A, and starts the rank-r run from them (init/hrp_start.hpp):
//
//   B·A = U·S·Vᵀ (factored, never formed)
//   side right: A = c·Vᵀ[:r], B = 0        side left: B = c·U[:, :r], A = 0
//
// Only directions are taken: the product is zero, the output unchanged, W bitwise untouched, and
// the optimizer and the schedule start afresh. Preheating steps are taken from the main run's.
//
// hrp<lora> preheats LoRA itself, both factors by AdamW: the plain reading of the paper. hrp<> is our
// variant. [preheat] The paper's summary leaves open how to preheat; each choice here is an option. Preheat
// trains A with plain SGD at the main rate (B is frozen and orthonormal, so that A is a sketch of the
// summed gradient and B·A its low-rank part); R = 16·r; 1.3 % of the steps, at least 1; c = 1. They
// were chosen by `./run map`, on digits and on teachers of known spectrum; on a pretrained language model
// hrp<lora> did better: docs/evidence.md.
// Automatic side: the frozen factor of the main adapter if it has one; else the side of Preheat's
// trained factor, because only that one depends on the gradient (train A -> right, train B -> left,
// both -> right).
//
// Errors: preheating rank < rank; preheating steps < 1; a side that the adapter cannot use.
// Cost: the preheating run, then O((m + n)·R²) per layer.
#pragma once
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adapter/asymmetric.hpp"
#include "../linalg/factored_svds.hpp"
#include "../optim/sgd.hpp"
#include "hrp_start.hpp"
#include "orthogonal.hpp"

namespace preheat {
// method.hpp includes the inits and has a default for every axis, so this header cannot include it:
// a program that uses hrp<> without a method of its own includes method.hpp.
template <class... Policies>
struct method;
}  // namespace preheat

namespace preheat::init {

using default_preheat =
    method<adapter::asymmetric<parameter_role::A>, init::orthogonal, optim::sgd>;

template <class Preheat = default_preheat>
struct hrp {
  static_assert(
      Preheat::leaves_base,
      "preheat: init::hrp leaves W unchanged, so its preheating method must neither subtract a "
      "product from W (init::pissa) nor merge into it (a chain)");
  static_assert(
      Preheat::adapter_type::has_factors,
      "preheat: init::hrp reads the product B*A of its preheating method; give it one with "
      "factors, such as method<adapter::lora>");

  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <class Be>
  using calibration = factors<Be>;  // of rank R

  Preheat preheating{};
  preheat::singular_side side = preheat::singular_side::automatic;
  index_t rank = 0;  // R; 0: `multiple` times the main rank
  index_t multiple = 16;
  std::optional<index_t> steps{};  // preheating steps; empty: `fraction` of all steps, at least 1
  double fraction = 0.013;
  std::optional<double> lr{};    // of Preheat; empty: the main run's
  row_norm_rule row_norm = 1.0;  // c; or the expected norm of another init

  // The steps of preheating, out of a run of `all` steps.
  index_t calibration_steps(index_t all) const {
    require(fraction > 0 && fraction < 1, "0 < fraction of the steps < 1", fraction, 1.0);
    const index_t automatic = std::max<index_t>(1, index_t(std::lround(fraction * double(all))));
    const index_t count = steps.value_or(automatic);
    require(count >= 1, "preheating steps >= 1", count, 1);
    return count;
  }

  template <class Context>
  [[gnu::cold]] std::vector<factors<typename Context::backend_type>> calibrate(
      Context& context) const {
    const index_t main_rank = *std::max_element(context.ranks.begin(), context.ranks.end());
    require(rank >= 0 && multiple >= 1, "preheating rank >= 0, multiple >= 1", rank, multiple);
    const index_t R = rank > 0 ? rank : multiple * main_rank;
    require(R >= main_rank, "preheating rank >= rank", R, main_rank);
    Preheat method = preheating;
    learning_rate(method.optim) = lr.value_or(context.learning_rate);
    const auto report = context.train(method, R, calibration_steps(context.options.steps));

    std::vector<factors<typename Context::backend_type>> products(context.layers().size());
    for (const auto& l : report.layers) {
      if (!l.attached) {
        continue;
      }
      auto& preheated = products[l.index];
      preheated = report.adapter.product(context.backend(), l.parameters);
      context.require_finite(preheated.A);
      context.require_finite(preheated.B);
    }
    return products;
  }

  // The start of one layer from its preheated factors (B·A of rank R >= r).
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s, const factors<Be>& preheated) const;
  // Those of many layers, whose factorizations overlap on a device (linalg/factored_svds.hpp).
  template <backend Be>
  requires linalg::detail::wide_on_device<Be> std::vector<factors<Be>> starts(
      Be& be, const std::vector<target_layer<Be>>& layers,
      const std::vector<const factors<Be>*>& preheated)
  const {
    std::vector<linalg::factored_problem<Be>> problems;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      require_fit(layers[l], *preheated[l]);
      problems.push_back({preheated[l]->B, preheated[l]->A, layers[l].rank, layers[l].gen});
    }
    std::vector<svd_result<mat<Be>>> triplets = linalg::factored_svds(be, problems);
    std::vector<factors<Be>> all;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      all.push_back(
          start_of_triplets(be, std::move(triplets[l]), choose_side<Be>(layers[l].side), row_norm));
    }
    return all;
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(
        never<Be>,
        "preheat: init::hrp needs preheated factors. Call fit(method, network, batches, "
        "options), which preheats, or pass the layer's factors<Be>{A, B} of rank R >= r as "
        "the third argument");
    return {};
  }

 private:
  template <class Be>
  static void require_fit(const target_layer<Be>& s, const factors<Be>& preheated) {
    require(preheated.B.cols() >= s.rank, "preheating rank >= rank", preheated.B.cols(), s.rank);
    require(preheated.B.rows() == s.W.rows(), "init::hrp: rows of the preheated B = out of W",
            preheated.B.rows(), s.W.rows());
    require(preheated.A.cols() == s.W.cols(), "init::hrp: columns of the preheated A = in of W",
            preheated.A.cols(), s.W.cols());
  }
  template <class Be>
  preheat::singular_side choose_side(preheat::singular_side usable) const {
    using preheat_params = typename Preheat::adapter_type::template params<Be>;
    if (side != preheat::singular_side::automatic) {
      if (usable != preheat::singular_side::automatic && usable != side) {
        const bool right = usable == preheat::singular_side::right;
        throw invalid_argument(
            std::string("init::hrp: this adapter freezes ") +
            (right ? "A and takes singular vectors on the right side, not the left"
                   : "B and takes singular vectors on the left side, not the right") +
            ": leave the side automatic");
      }
      return side;
    }
    if (usable != preheat::singular_side::automatic) {
      return usable;
    }
    return trains<preheat_params>(parameter_role::A) ? preheat::singular_side::right
                                                     : preheat::singular_side::left;
  }
};

// (Outside the class, and so not inline, that preheat::kernels can have it compiled.)
template <class Preheat>
template <backend Be>
factors<Be> hrp<Preheat>::operator()(Be& be, const target_layer<Be>& s,
                                     const factors<Be>& preheated) const {
  require_fit(s, preheated);
  return hrp_start(be, preheated.B, preheated.A, s.rank, choose_side<Be>(s.side), row_norm, s.gen)
      .f;
}

}  // namespace preheat::init
