// What the gradient inits (LoRA-GA, LoRA-One, LoRA-SB) learn from the data: of every layer that is
// started the mean gradient over a few batches at the base weights,
//
//   G_l = Σ_k ∂loss_k/∂W_l / batches,   the batch's ∂loss/∂W_l being dY·Xᵀ (m×n),
//
// gathered once for the whole network, all layers in the same passes, one batch at a time.
//
// `dense_gradient` holds every G_l and takes its exact SVD; `sketched_gradient`
// (init/sketched_gradient.hpp) never holds one. Both are settings with
//
//   cost()                    the steps that gathering is charged: a pass of a batch is one
//   leading(scene, triplets)  the first triplets[l] singular triplets of G_l, for every layer of
//                             the network (empty where none is started, or the run has ended)
//
// and an init that starts from the SVD of a gradient takes either as its template parameter.
// The number of batches is ours; the papers use a few dozen small ones.
#pragma once
#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../linalg/truncated_svd.hpp"

namespace preheat::init {

// The mean gradient of each layer that is started. A gradient that is not finite sets the scene's
// status. Cost: 2·m·n·tokens operations and m·n numbers a layer.
template <class Scene, class Be = typename Scene::backend_type>
std::vector<mat<Be>> mean_gradients(Scene& scene, index_t batches) {
  require(batches >= 1, "batches of gradients >= 1", batches, 1);
  Be& be = scene.backend();
  std::vector<mat<Be>> G(scene.net.layers().size());
  for (const index_t l : scene.layers) {
    const mat<Be>& W = scene.net.layers()[std::size_t(l)].W;
    G[std::size_t(l)] = be.zeros(W.rows(), W.cols());
  }
  const scalar_of<Be> weight = scalar_of<Be>(1) / scalar_of<Be>(batches);
  scene.watch_gradients(batches, [&](index_t l, in<Be> X, in<Be> dY) {
    be.gemm(weight, op::none, dY, op::trans, X, 1, G[std::size_t(l)]);
  });
  for (const index_t l : scene.layers) {
    scene.require_finite(G[std::size_t(l)]);
  }
  return G;
}

// The first k singular triplets of a gradient. One that is all zero has random orthonormal vectors,
// rather than the first axes.
template <backend Be>
svd_result<mat<Be>> gradient_svd(Be& be, in<Be> G, index_t k, const generator& gen) {
  if (be.max_abs(G) == 0) {
    return {linalg::orthonormal(be, G.rows(), k, gen.fork(purpose::completion, 0)), be.zeros(k, 1),
            linalg::orthonormal(be, G.cols(), k, gen.fork(purpose::completion, 1))};
  }
  return linalg::truncated_svd<Be>(be, G, k);
}

// The whole gradient, m×n a layer. Cost: that of mean_gradients, then O(m·n·min(m, n)) a layer.
struct dense_gradient {
  index_t batches = 8;

  index_t cost() const { return batches; }

  template <class Scene, class Be = typename Scene::backend_type>
  std::vector<svd_result<mat<Be>>> leading(Scene& scene,
                                           const std::vector<index_t>& triplets) const {
    std::vector<svd_result<mat<Be>>> found(triplets.size());
    const std::vector<mat<Be>> G = mean_gradients(scene, batches);
    if (scene.ended()) {
      return found;
    }
    for (const index_t l : scene.layers) {
      found[std::size_t(l)] =
          gradient_svd<Be>(scene.backend(), G[std::size_t(l)], triplets[std::size_t(l)],
                           scene.gen.fork(purpose::completion, std::uint64_t(l)));
    }
    return found;
  }
};

// How many triplets of its gradient each layer needs, `per_rank` times its rank: refused before
// anything is gathered where the layer is too small.
template <class Scene>
std::vector<index_t> wanted_triplets(const Scene& scene, index_t per_rank, const std::string& law) {
  std::vector<index_t> triplets(scene.ranks.size(), 0);
  for (const index_t l : scene.layers) {
    const auto& layer = scene.net.layers()[std::size_t(l)];
    const index_t wanted = per_rank * scene.ranks[std::size_t(l)];
    const index_t room = std::min(layer.W.rows(), layer.W.cols());
    require(wanted <= room, law + " for layer '" + layer.name + "'", wanted, room);
    triplets[std::size_t(l)] = wanted;
  }
  return triplets;
}

// Whether d can be the SVD of the gradient of this site, with at least k triplets; `policy` is the
// name in errors.
template <backend Be>
void require_gradient(Be& be, const site<Be>& s, const svd_result<mat<Be>>& d, index_t k,
                      const std::string& policy) {
  require(s.rank >= 1, policy + ": rank >= 1", s.rank, 1);
  require(k <= d.S.rows(), policy + ": triplets needed <= triplets of the gradient", k, d.S.rows());
  require(d.U.rows() == s.W.rows(), policy + ": rows of the gradient = out of W", d.U.rows(),
          s.W.rows());
  require(d.V.rows() == s.W.cols(), policy + ": columns of the gradient = in of W", d.V.rows(),
          s.W.cols());
  linalg::require_finite<Be>(be, d.S, policy + ": a singular value of the gradient");
  linalg::require_finite<Be>(be, d.U, policy + ": a singular vector of the gradient");
  linalg::require_finite<Be>(be, d.V, policy + ": a singular vector of the gradient");
}

// A singular value at most this counts as zero: min(m, n)·ε·σ₁.
template <backend Be>
scalar_of<Be> zero_to_rounding(const site<Be>& s, scalar_of<Be> largest) {
  const index_t small = std::min(s.W.rows(), s.W.cols());
  return scalar_of<Be>(small) * std::numeric_limits<scalar_of<Be>>::epsilon() * largest;
}

}  // namespace preheat::init
