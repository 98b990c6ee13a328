// EVA, Explained Variance Adaptation ("One Initialization to Rule them All: Fine-tuning via
// Explained Variance Adaptation", arXiv 2410.07170). The rows of A are the principal components of
// the layer's input, found by an incremental PCA of a few batches at the base weights:
//
//   A = the first r components of the input minus its mean (r×n, orthonormal rows),  B = 0 (m×r)
//
// The ranks are redistributed between layers: the first round(r·ρ) components of every layer are
// candidates, and the Σr candidates with the largest explained variance ratio are taken. A layer's
// s stays the one of its former rank. W is unchanged, and the product is zero.
//
//   rho, tau, whiten   [PEFT] ρ = 2, τ = 0.99, off. whiten divides each row of A by the root of its
//                      singular value, which grows with the number of tokens
//   batches            [PEFT] cycles through the data until every component that the current ranks
//                      use has converged: |cosine| to itself before the last batch above τ (τ = 1:
//                      never). [preheat] The same, but at most `batches` batches. As in PEFT, a
//                      layer that has converged uses no more batches
//   rank of 1 or more  [PEFT] removes the adapter of a layer without ranks. [preheat] Every layer
//                      keeps its first component. Ties go to the component with the smaller
//                      index / former rank, then to the earlier layer, so with no variance the
//                      ranks do not change
//   few components     [preheat] With constant inputs or fewer tokens than r, the other rows of A
//                      are random, orthonormal to all others and not whitened. [PEFT] skips
//                      small batches
//
// Errors: ρ < 1; τ outside [0, 1]; batches < 1; an adapter that freezes B. Inputs that are not
// finite set the context's status. Cost: `batches` steps, whether or not components converge
// before, and one SVD per batch and layer (linalg/incremental_pca.hpp). Activations are not stored.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../linalg/incremental_pca.hpp"

namespace preheat::init {

struct eva {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;
  template <class Be>
  using calibration = linalg::incremental_pca<Be>;

  index_t batches = 8;
  double rho = 2;
  double tau = 0.99;
  bool whiten = false;

  index_t calibration_steps(index_t) const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<linalg::incremental_pca<Be>> calibrate(Context& context) const {
    using status = decltype(context.status);
    check();
    Be& be = context.backend();
    std::vector<linalg::incremental_pca<Be>> seen(context.layers().size());
    for (const index_t l : context.targets) {
      seen[l] = linalg::incremental_pca<Be>(candidates(context, l));
    }
    std::vector<index_t> ranks = context.ranks;
    const auto converged = [&](index_t l) {
      const std::vector<double>& cosines = seen[l].agreement();
      const auto steady = [&](double cosine) { return cosine > tau; };
      const index_t r = ranks[l];
      return tau < 1 && r <= index_t(cosines.size()) &&
             std::all_of(cosines.begin(), cosines.begin() + r, steady);
    };
    for (index_t k = 0; k < batches && !context.ended(); ++k) {
      context.watch_inputs(
          1,
          [&](index_t l, const_view_of<Be> X) {
            if (!std::isfinite(double(be.max_abs(X)))) {
              context.status = status::non_finite;
            } else if (!converged(l)) {
              seen[l].add(be, X);
            }
          },
          k);
      ranks = redistribute(context, seen);
      if (std::all_of(context.targets.begin(), context.targets.end(), converged)) {
        break;
      }
    }
    if (!context.ended()) {
      context.ranks = ranks;
    }
    return seen;
  }

  // The start of one layer from the components of its input.
  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s,
                         const linalg::incremental_pca<Be>& seen) const {
    using T = scalar_of<Be>;
    const index_t m = s.W.rows();
    const index_t n = s.W.cols();
    check();
    require(s.side != singular_side::left,
            "init::eva: this adapter freezes B and takes singular vectors on the left side; EVA "
            "has them "
            "for A");
    require(1 <= s.rank && s.rank <= std::min(m, n), "init::eva: 1 <= rank <= min(out, in)", s.rank,
            std::min(m, n));
    require(seen.tokens() == 0 || seen.mean().rows() == n,
            "init::eva: features of the input = in of W", seen.mean().rows(), n);
    const index_t known = std::min(s.rank, seen.found());
    mat<Be> V = be.zeros(n, s.rank);
    if (known > 0) {
      be.copy(transpose::no, view(seen.components()).col_range(0, known),
              view(V).col_range(0, known));
    }
    linalg::complete_orthonormal(be, V, known, s.gen.fork(purpose::completion));
    mat<Be> A = linalg::transposed(be, V);
    if (whiten && known > 0) {
      std::vector<T> inverse_roots;
      for (index_t i = 0; i < known; ++i) {
        inverse_roots.push_back(1 / std::sqrt(seen.singular_values()[i]));
      }
      mat<Be> factor = be.zeros(known, 1);
      be.upload(inverse_roots, factor);
      be.scale_rows(factor, view(A).row_range(0, known));
    }
    return {std::move(A), be.zeros(m, s.rank)};
  }

  template <backend Be>
  factors<Be> operator()(Be&, const target_layer<Be>&) const {
    static_assert(never<Be>,
                  "preheat: init::eva needs the components of the layer's input. Call fit(method, "
                  "network, batches, options), which computes them, or pass an "
                  "linalg::incremental_pca<Be> of the inputs as the third argument");
    return {};
  }

 private:
  struct candidate {
    double ratio;  // of the variance of its layer's input
    double place;  // its index, divided by the layer's former rank
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

  // round(r·ρ), ties to even as in Python, and at most min(m, n) of the layer.
  template <class Context>
  index_t candidates(const Context& context, index_t l) const {
    const auto& W = context.layers()[l].W;
    const double wanted = std::nearbyint(rho * double(context.ranks[l]));
    return index_t(std::min(wanted, double(std::min(W.rows(), W.cols()))));
  }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<index_t> redistribute(const Context& context,
                                    const std::vector<linalg::incremental_pca<Be>>& seen) const {
    std::vector<candidate> all;
    index_t budget = 0;
    for (const index_t l : context.targets) {
      const index_t rank = context.ranks[l];
      const index_t offered = seen[l].wanted();
      std::vector<double> ratios = seen[l].explained_ratios();
      ratios.resize(std::size_t(offered), 0);
      ratios[0] = std::numeric_limits<double>::infinity();  // every layer keeps one component
      for (index_t i = 0; i < offered; ++i) {
        all.push_back({ratios[i], double(i) / double(rank), l});
      }
      budget += rank;
    }
    std::stable_sort(all.begin(), all.end());
    std::vector<index_t> ranks(context.ranks.size(), 0);
    for (index_t k = 0; k < budget; ++k) {
      ++ranks[std::size_t(all[k].layer)];
    }
    return ranks;
  }
};

}  // namespace preheat::init
