// The singular triplets of the mean gradient without the gradient: what init::dense_gradient gives,
// approximately, in O((m + n)·k) memory a layer instead of m·n. The m×n gradient of a batch, their
// sum and every other m×n matrix stay unformed, so that a layer costs what its adapter costs.
//
//   init::lora_ga<init::sketched_gradient>{.gradient = {.batches = 4, .passes = 1}}
//
// The sketches, their bounds and their citations are in linalg/gradient_sketch.hpp; k is the number
// of triplets wanted plus the oversampling, at most min(m, n). Two passes send the same batches
// twice, and are charged twice. Of what is sketched the first triplets are kept; with E the bound's
// error and τ_r² = Σ_{i>r} σ_i² the rank-r truncation is off by at most
//
//   two passes   ‖G − (Q·Z)_r‖_F² <= E² + τ_r²   (Q·Z is a projection of G, its tail no larger)
//   one pass     ‖G − (Q·X)_r‖_F <= 2·E + τ_r    (Tropp et al. 2017, section 6)
//
// The gradient init from a sketch, and the defaults, are ours. A gradient of zeros gives singular
// values 0 and random orthonormal vectors; so do directions beyond the rank of the gradient.
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

  index_t cost() const {
    require(batches >= 1, "batches of gradients >= 1", batches, 1);
    require(passes == 1 || passes == 2, "passes over the batches: 1 or 2", passes, 2);
    require(oversampling >= 0, "oversampling >= 0", oversampling, 0);
    return batches * passes;
  }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<svd_result<mat<Be>>> leading(Scene& scene,
                                           const std::vector<index_t>& triplets) const {
    cost();  // checks the settings
    return passes == 2 ? leading_by<linalg::two_pass_sketch<Be>>(scene, triplets)
                       : leading_by<linalg::one_pass_sketch<Be>>(scene, triplets);
  }

 private:
  template <class Sketch, class Scene, class Be = typename Scene::backend_type>
  std::vector<svd_result<mat<Be>>> leading_by(Scene& scene,
                                              const std::vector<index_t>& triplets) const {
    Be& be = scene.backend();
    const auto stream = [&](index_t l) {
      return scene.gen.fork(purpose::sketch, std::uint64_t(l));
    };
    std::vector<Sketch> sketches(triplets.size());
    for (const index_t l : scene.layers) {
      const mat<Be>& W = scene.net.layers()[std::size_t(l)].W;
      const index_t small = std::min(W.rows(), W.cols());
      const index_t k = std::min(triplets[std::size_t(l)] + oversampling, small);
      sketches[std::size_t(l)] = Sketch(be, W.rows(), W.cols(), k, stream(l));
    }

    std::vector<svd_result<mat<Be>>> found(triplets.size());
    const scalar_of<Be> weight = scalar_of<Be>(1) / scalar_of<Be>(batches);
    for (int pass = 0; pass < Sketch::passes; ++pass) {
      scene.watch_gradients(batches, [&](index_t l, in<Be> X, in<Be> dY) {
        sketches[std::size_t(l)].add(be, weight, dY, X);
      });
      for (const index_t l : scene.layers) {
        scene.require_finite(sketches[std::size_t(l)].sum());
      }
      if (scene.ended()) {
        return found;
      }
      for (const index_t l : scene.layers) {
        sketches[std::size_t(l)].end_pass(be);
      }
    }
    for (const index_t l : scene.layers) {
      const factors<Be> G = sketches[std::size_t(l)].approximation(be);
      found[std::size_t(l)] =
          linalg::factored_svd<Be>(be, G.B, G.A, triplets[std::size_t(l)], stream(l));
    }
    return found;
  }
};

}  // namespace preheat::init
