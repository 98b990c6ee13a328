// A linear operator without adapters that passes what goes through chosen layers to two functions.
// Inits calibrate with it: input covariances, activations, gradients, sketches.
//
//   recorder<Be> watch(net, {0, 2});
//   watch.on_gradient = [&](index_t l, const_view_of<Be> X, const_view_of<Be> dY) {
//     // ∂loss/∂W_l is dY·Xᵀ
//   };
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
      watched_[l] = 1;
    }
  }

  std::function<void(index_t layer, const_view_of<Be> X)> on_input;
  std::function<void(index_t layer, const_view_of<Be> X, const_view_of<Be> dY)> on_gradient;

  // --- concept linear_operator
  void begin(pass_kind p) {
    again_ = false;
    base_.begin(p);
  }
  void next_chunk(index_t l, index_t first, index_t columns) {
    base_.next_chunk(l, first, columns);
  }
  void share_buffers(index_t l, index_t outputs, index_t gradient) {
    base_.share_buffers(l, outputs, gradient);
  }
  void forget_use(index_t l) { base_.forget_use(l); }
  void repeat(bool again) {
    again_ = again;
    base_.repeat(again);
  }
  view_of<Be> forward(index_t l, const_view_of<Be> X) {
    if (on_input && watched_[l] != 0 && !again_) {
      on_input(l, X);
    }
    return base_.forward(l, X);
  }
  view_of<Be> backward(index_t l, const_view_of<Be> X, const_view_of<Be> dY, bool need_dx) {
    if (on_gradient && watched_[l] != 0) {
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
  bool again_ = false;
};

}  // namespace preheat
