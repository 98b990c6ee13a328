// The singular triplets of the mean gradient as init::dense_gradient computes them, approximately,
// in O((m + n)·k) memory per layer instead of m·n. No m×n matrix is formed, neither the gradient of
// a batch nor their sum, so that a layer needs about the memory of its adapter.
//
//   init::lora_ga<init::sketched_gradient>{.gradient = {.batches = 4, .passes = 1}}
//
// The sketches, their bounds and their citations are in linalg/gradient_sketch.hpp; k is the number
// of triplets wanted plus the oversampling, at most min(m, n). Two passes use the same batches
// twice and cost twice the steps. Only the first triplets of the sketch are returned. With E the
// error of the bound and τ_r² = Σ_{i>r} σ_i², the error of the rank-r truncation is at most
//
//   two passes   ‖G − (Q·Z)_r‖_F² <= E² + τ_r²   (Q·Z is a projection of G, its tail no larger)
//   one pass     ‖G − (Q·X)_r‖_F <= 2·E + τ_r    (Tropp et al. 2017, section 6)
//
// [preheat] Starting a gradient init from a sketch, and the defaults. A zero gradient gives
// singular values 0 and random orthonormal vectors, as do triplets beyond the rank of the gradient.
// Errors: batches < 1; passes neither 1 nor 2; oversampling < 0.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "../linalg/factored_svd.hpp"
#include "../linalg/gradient_sketch.hpp"

namespace preheat::init {

struct sketched_gradient {
  index_t batches = 8;
  index_t passes = 2;        // 2, or 1: half the cost, less accurate
  index_t oversampling = 8;  // p

  index_t calibration_steps() const {
    require(batches >= 1, "batches of gradients >= 1", batches, 1);
    require(passes == 1 || passes == 2, "passes over the batches: 1 or 2", passes, 2);
    require(oversampling >= 0, "oversampling >= 0", oversampling, 0);
    return batches * passes;
  }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<svd_result<mat<Be>>> leading(Context& context,
                                           const std::vector<index_t>& triplets) const {
    calibration_steps();  // checks the settings
    return passes == 2 ? leading_by<linalg::two_pass_sketch<Be>>(context, triplets)
                       : leading_by<linalg::one_pass_sketch<Be>>(context, triplets);
  }

 private:
  template <class Sketch, class Context, class Be = typename Context::backend_type>
  std::vector<svd_result<mat<Be>>> leading_by(Context& context,
                                              const std::vector<index_t>& triplets) const {
    Be& be = context.backend();
    const auto stream = [&](index_t l) {
      return context.gen.fork(purpose::sketch, std::uint64_t(l));
    };
    std::vector<Sketch> sketches(triplets.size());
    for (const index_t l : context.targets) {
      const mat<Be>& W = context.layers()[l].W;
      const index_t small = std::min(W.rows(), W.cols());
      const index_t k = std::min(triplets[l] + oversampling, small);
      sketches[l] = Sketch(be, W.rows(), W.cols(), k, stream(l));
    }

    std::vector<svd_result<mat<Be>>> found(triplets.size());
    const scalar_of<Be> weight = scalar_of<Be>(1) / scalar_of<Be>(batches);
    for (int pass = 0; pass < Sketch::passes; ++pass) {
      context.watch_gradients(batches, [&](index_t l, const_view_of<Be> X, const_view_of<Be> dY) {
        sketches[l].add(be, weight, dY, X);
      });
      for (const index_t l : context.targets) {
        context.require_finite(sketches[l].sum());
      }
      if (context.ended()) {
        return found;
      }
      for (const index_t l : context.targets) {
        sketches[l].end_pass(be);
      }
    }
    for (const index_t l : context.targets) {
      const factors<Be> G = sketches[l].approximation(be);
      found[l] = linalg::factored_svd(be, G.B, G.A, triplets[l], stream(l));
    }
    return found;
  }
};

}  // namespace preheat::init
