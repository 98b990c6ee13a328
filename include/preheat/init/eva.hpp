// EVA, Explained Variance Adaptation ("One Initialization to Rule them All: Fine-tuning via
// Explained Variance Adaptation", arXiv 2410.07170). A starts along the directions in which the
// layer's input varies most, found by an incremental PCA of a few batches at the base weights:
//
//   A = the first r components of the input less its mean (r×n, orthonormal rows),  B = 0 (m×r)
//
// and the ranks go where they explain most: of every layer the first round(r·ρ) components are
// candidates, and of all candidates the Σr with the largest explained variance ratio decide. A
// layer's s stays what it was at its rank before. W is untouched, the product is zero.
//
//   rho, tau, whiten   as PEFT (ρ = 2, τ = 0.99, off): whiten divides each row of A by the root of
//                      its singular value, which grows with the tokens seen
//   batches            ours. PEFT cycles through the data until every component that the ranks of
//                      the moment ask for has converged: |cosine| to itself before the last batch
//                      above τ (τ = 1: never). Here the same, but after `batches` at the latest;
//                      a layer that has converged takes no more batches, as in PEFT
//   at least rank 1    ours: PEFT takes the adapter of a layer without ranks away, here every layer
//                      keeps its first component. Between equal ratios the smaller (index / former
//                      rank) wins, then the earlier layer: without variance the ranks stay
//   too few components ours: constant inputs, fewer tokens than r. The rest of A is random, its
//                      rows orthonormal to all others, not whitened. PEFT skips small batches
//
// Errors: ρ < 1; τ outside [0, 1]; batches < 1; an adapter that freezes B. Inputs that are not
// finite set the scene's status. Cost: `batches` steps are charged, converged or not; a batch is
// an SVD a layer (linalg/incremental_pca.hpp). Activations are not kept.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../linalg/incremental_pca.hpp"

namespace preheat::init {

struct eva {
  using axis = axes::init;
  using hooks = hook_list<>;
  static constexpr start product = start::zero;
  static constexpr evidence_kind needs = evidence_kind::activations;
  template <class Be>
  using evidence = linalg::incremental_pca<Be>;

  index_t batches = 8;
  double rho = 2;
  double tau = 0.99;
  bool whiten = false;

  index_t cost(index_t) const { return batches; }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<linalg::incremental_pca<Be>> gather(Scene& scene) const {
    using status = decltype(scene.status);
    check();
    Be& be = scene.backend();
    std::vector<linalg::incremental_pca<Be>> seen(scene.net.layers().size());
    for (const index_t l : scene.layers) {
      seen[std::size_t(l)] = linalg::incremental_pca<Be>(candidates(scene, l));
    }
    std::vector<index_t> ranks = scene.ranks;
    const auto converged = [&](index_t l) {
      const std::vector<double>& cosines = seen[std::size_t(l)].agreement();
      const auto steady = [&](double cosine) { return cosine > tau; };
      const index_t r = ranks[std::size_t(l)];
      return tau < 1 && r <= index_t(cosines.size()) &&
             std::all_of(cosines.begin(), cosines.begin() + r, steady);
    };
    for (index_t k = 0; k < batches && !scene.ended(); ++k) {
      scene.watch_inputs(
          1,
          [&](index_t l, in<Be> X) {
            if (!std::isfinite(double(be.max_abs(X)))) {
              scene.status = status::non_finite;
            } else if (!converged(l)) {
              seen[std::size_t(l)].add(be, X);
            }
          },
          k);
      ranks = redistribute(scene, seen);
      if (std::all_of(scene.layers.begin(), scene.layers.end(), converged)) {
        break;
      }
    }
    if (!scene.ended()) {
      scene.ranks = ranks;
    }
    return seen;
  }

  // The start of one layer from the components of its input.
  template <backend Be>
  factors<Be> operator()(Be& be, const site<Be>& s, const linalg::incremental_pca<Be>& seen) const {
    using T = scalar_of<Be>;
    const index_t m = s.W.rows();
    const index_t n = s.W.cols();
    check();
    require(s.directions != side::left,
            "init::eva: this adapter freezes B and takes directions on the left side; EVA has them "
            "for A");
    require(1 <= s.rank && s.rank <= std::min(m, n), "init::eva: 1 <= rank <= min(out, in)", s.rank,
            std::min(m, n));
    require(seen.tokens() == 0 || seen.mean().rows() == n,
            "init::eva: features of the input = in of W", seen.mean().rows(), n);
    const index_t known = std::min(s.rank, seen.found());
    mat<Be> V = be.zeros(n, s.rank);
    if (known > 0) {
      be.copy(op::none, view(seen.components()).col_range(0, known), view(V).col_range(0, known));
    }
    linalg::complete_orthonormal(be, V, known, s.gen.fork(purpose::completion));
    mat<Be> A = linalg::transposed<Be>(be, V);
    if (whiten && known > 0) {
      std::vector<T> inverse_roots;
      for (index_t i = 0; i < known; ++i) {
        inverse_roots.push_back(1 / std::sqrt(seen.singular_values()[std::size_t(i)]));
      }
      mat<Be> factor = be.zeros(known, 1);
      be.upload(inverse_roots, factor);
      be.scale_rows(factor, view(A).row_range(0, known));
    }
    return {std::move(A), be.zeros(m, s.rank)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const site<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::eva needs the components of the layer's input. Call fit(method, "
                  "network, batches, options), which gathers them, or pass an "
                  "linalg::incremental_pca<Be> of the inputs as the third argument");
    return {};
  }

 private:
  struct candidate {
    double ratio;  // of the variance of its layer's input
    double place;  // its number, in ranks that the layer had
    index_t layer;
    bool operator<(const candidate& other) const {
      return ratio != other.ratio ? ratio > other.ratio : place < other.place;
    }
  };

  void check() const {
    require(rho >= 1, "init::eva: rho >= 1", rho, 1.0);
    require(0 <= tau && tau <= 1, "init::eva: 0 <= tau <= 1", tau, 1.0);
    require(batches >= 1, "init::eva: batches >= 1", batches, 1);
  }

  // round(r·ρ), ties to even as in Python; no more than the layer has room for.
  template <class Scene>
  index_t candidates(const Scene& scene, index_t l) const {
    const auto& W = scene.net.layers()[std::size_t(l)].W;
    const double wanted = std::nearbyint(rho * double(scene.ranks[std::size_t(l)]));
    return index_t(std::min(wanted, double(std::min(W.rows(), W.cols()))));
  }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<index_t> redistribute(const Scene& scene,
                                    const std::vector<linalg::incremental_pca<Be>>& seen) const {
    std::vector<candidate> all;
    index_t budget = 0;
    for (const index_t l : scene.layers) {
      const index_t rank = scene.ranks[std::size_t(l)];
      const index_t offered = seen[std::size_t(l)].wanted();
      std::vector<double> ratios = seen[std::size_t(l)].explained_ratios();
      ratios.resize(std::size_t(offered), 0);
      ratios[0] = std::numeric_limits<double>::infinity();  // every layer keeps one
      for (index_t i = 0; i < offered; ++i) {
        all.push_back({ratios[std::size_t(i)], double(i) / double(rank), l});
      }
      budget += rank;
    }
    std::stable_sort(all.begin(), all.end());
    std::vector<index_t> ranks(scene.ranks.size(), 0);
    for (index_t k = 0; k < budget; ++k) {
      ++ranks[std::size_t(all[std::size_t(k)].layer)];
    }
    return ranks;
  }
};

}  // namespace preheat::init
