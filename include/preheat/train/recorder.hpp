// The base alone, watched: a linear operator without adapters that tells what goes through chosen
// layers. From it inits gather evidence: input covariances, activations, gradients, sketches.
//
//   recorder<Be> watch(net, {0, 2});
//   watch.on_gradient = [&](index_t l, in<Be> X, in<Be> dY) { /* ∂loss/∂W_l is dY·Xᵀ */ };
//   net.loss_and_gradient(batch, watch);
#pragma once
#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "adapted.hpp"

namespace preheat {

template <backend Be>
class recorder {
 public:
  template <network Net>
  recorder(Net& net, const std::vector<index_t>& layers)
      : base_(net), watched_(net.layers().size(), 0) {
    for (const index_t l : layers) {
      watched_[std::size_t(l)] = 1;
    }
  }

  std::function<void(index_t layer, in<Be> X)> on_input;
  std::function<void(index_t layer, in<Be> X, in<Be> dY)> on_gradient;

  // --- concept linear_operator
  void begin(pass p) { base_.begin(p); }
  out<Be> forward(index_t l, in<Be> X) {
    if (on_input && watched_[std::size_t(l)] != 0) {
      on_input(l, X);
    }
    return base_.forward(l, X);
  }
  out<Be> backward(index_t l, in<Be> X, in<Be> dY, bool need_dx) {
    if (on_gradient && watched_[std::size_t(l)] != 0) {
      on_gradient(l, X, dY);
    }
    return base_.backward(l, X, dY, need_dx);
  }
  index_t first_trained() const {
    return index_t(std::find(watched_.begin(), watched_.end(), 1) - watched_.begin());
  }

 private:
  base_operator<Be> base_;
  std::vector<char> watched_;
};

}  // namespace preheat
