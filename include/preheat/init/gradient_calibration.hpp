// The calibration of the gradient inits (LoRA-GA, LoRA-One, LoRA-SB): the mean gradient of every
// layer that is started, over a few batches at the base weights,
//
//   G_l = Σ_k ∂loss_k/∂W_l / batches,   the batch's ∂loss/∂W_l being dY·Xᵀ (m×n),
//
// computed once for the whole network: each batch is passed once, for all layers.
//
// `dense_gradient` stores every G_l and computes its exact SVD; `sketched_gradient`
// (init/sketched_gradient.hpp) never forms one. Both are settings with
//
//   calibration_steps()         the steps that the calibration takes from the run, one per batch
//                               and pass
//   leading(context, triplets)  the first triplets[l] singular triplets of G_l, for every layer of
//                               the network (empty for a layer that is not started, or if the run
//                               has ended)
//
// and an init that starts from the SVD of a gradient has either as its template parameter.
// [preheat] The number of batches is a setting; [paper] a few dozen small ones.
#pragma once
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

// The mean gradient of each layer that is started. A gradient that is not finite sets the context's
// status. Cost: 2·m·n·tokens operations and m·n numbers per layer.
template <class Context, class Be = typename Context::backend_type>
std::vector<mat<Be>> mean_gradients(Context& context, index_t batches) {
  require(batches >= 1, "batches of gradients >= 1", batches, 1);
  Be& be = context.backend();
  std::vector<mat<Be>> G(context.layers().size());
  for (const index_t l : context.targets) {
    const mat<Be>& W = context.layers()[l].W;
    G[l] = be.zeros(W.rows(), W.cols());
  }
  const scalar_of<Be> weight = scalar_of<Be>(1) / scalar_of<Be>(batches);
  context.watch_gradients(batches, [&](index_t l, const_view_of<Be> X, const_view_of<Be> dY) {
    be.gemm(weight, transpose::no, dY, transpose::yes, X, 1, G[l]);
  });
  for (const index_t l : context.targets) {
    context.require_finite(G[l]);
  }
  return G;
}

// The first k singular triplets of a gradient. A gradient of zeros gets random orthonormal vectors
// instead of the first axes.
template <backend Be>
svd_result<mat<Be>> gradient_svd(Be& be, const_view_of<Be> G, index_t k, const generator& gen) {
  if (be.max_abs(G) == 0) {
    return {linalg::orthonormal(be, G.rows(), k, gen.fork(purpose::completion, 0)), be.zeros(k, 1),
            linalg::orthonormal(be, G.cols(), k, gen.fork(purpose::completion, 1))};
  }
  return linalg::truncated_svd(be, G, k);
}

// The whole gradient, m×n per layer. Cost: that of mean_gradients, then O(m·n·min(m, n)) per layer.
struct dense_gradient {
  index_t batches = 8;

  index_t calibration_steps() const { return batches; }

  template <class Context, class Be = typename Context::backend_type>
  std::vector<svd_result<mat<Be>>> leading(Context& context,
                                           const std::vector<index_t>& triplets) const {
    std::vector<svd_result<mat<Be>>> found(triplets.size());
    const std::vector<mat<Be>> G = mean_gradients(context, batches);
    if (context.ended()) {
      return found;
    }
    for (const index_t l : context.targets) {
      found[l] = gradient_svd(context.backend(), G[l], triplets[l],
                              context.gen.fork(purpose::completion, std::uint64_t(l)));
    }
    return found;
  }
};

// How many triplets of its gradient each layer needs: `per_rank` times its rank. Throws
// invalid_argument, before any batch is passed, if a layer is too small.
template <class Context>
std::vector<index_t> wanted_triplets(const Context& context, index_t per_rank,
                                     const std::string& law) {
  std::vector<index_t> triplets(context.ranks.size(), 0);
  for (const index_t l : context.targets) {
    const auto& layer = context.layers()[l];
    const index_t wanted = per_rank * context.ranks[l];
    const index_t room = std::min(layer.W.rows(), layer.W.cols());
    require(wanted <= room, law + " for layer '" + layer.name + "'", wanted, room);
    triplets[l] = wanted;
  }
  return triplets;
}

// Throws unless d can be the SVD of the gradient of this layer, with at least k triplets; `policy`
// is the name in errors.
template <backend Be>
void require_gradient(Be& be, const target_layer<Be>& s, const svd_result<mat<Be>>& d, index_t k,
                      const std::string& policy) {
  require(s.rank >= 1, policy + ": rank >= 1", s.rank, 1);
  require(k <= d.S.rows(), policy + ": triplets needed <= triplets of the gradient", k, d.S.rows());
  require(d.U.rows() == s.W.rows(), policy + ": rows of the gradient = out of W", d.U.rows(),
          s.W.rows());
  require(d.V.rows() == s.W.cols(), policy + ": columns of the gradient = in of W", d.V.rows(),
          s.W.cols());
  linalg::require_finite(be, d.S, policy + ": a singular value of the gradient");
  linalg::require_finite(be, d.U, policy + ": a singular vector of the gradient");
  linalg::require_finite(be, d.V, policy + ": a singular vector of the gradient");
}

// A singular value at most this counts as zero: min(m, n)·ε·σ₁.
template <backend Be>
scalar_of<Be> zero_to_rounding(const target_layer<Be>& s, scalar_of<Be> largest) {
  const index_t small = std::min(s.W.rows(), s.W.cols());
  return scalar_of<Be>(small) * std::numeric_limits<scalar_of<Be>>::epsilon() * largest;
}

}  // namespace preheat::init
