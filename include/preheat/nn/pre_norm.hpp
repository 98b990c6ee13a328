// The normalization before a part of a decoder's block, which leaves its input as it is for the
// residual sum.
//
//   rms     y = γ⊙x/√(mean(x²) + ε)                      (Zhang & Sennrich, arXiv 1910.07467)
//   layer   y = γ⊙(x − mean(x))/√(var(x) + ε) + β         (nn/layer_norm.hpp; keeps a copy of x̂)
//
// The gradient with respect to x is added to that of the residual sum. X is features × N. Cost: one
// pass over X in each direction.
#pragma once
#include "decoder_backend.hpp"
#include "decoder_weights.hpp"
#include "sums.hpp"

namespace preheat::nn {

template <decoder_backend Be>
class pre_norm {
 public:
  using T = scalar_of<Be>;

  // From now on Y gets so many rows more, which are not written (nn/layers_together.hpp).
  void leave_room(index_t rows) { room_ = rows; }

  // X must not change until backward. Y is written; its rows are those of X, and the room.
  void forward(Be& be, norm_kind kind, double epsilon, const norm_weights<Be>& w,
               const_activation_view<Be> X, activations<Be>& Y) {
    X_ = X;
    be.resize(r_, X.cols(), 1);
    const activation_view<Be> y = place(be, Y);
    if (kind == norm_kind::rms) {
      be.rms_norm(T(epsilon), w.gamma, X, r_, y);
    } else {
      be.resize(normalized_, X.rows(), X.cols());
      be.copy(transpose::no, X, normalized_);
      be.layer_norm(T(epsilon), w.gamma, w.beta, normalized_, r_, y);
    }
  }
  // X += a before, in one pass where the backend can.
  void forward_of_sum(Be& be, norm_kind kind, double epsilon, const norm_weights<Be>& w,
                      const_activation_view<Be> a, activation_view<Be> X, activations<Be>& Y) {
    if constexpr (adds_before_norm<Be>) {
      if (kind == norm_kind::rms) {
        X_ = X;
        be.resize(r_, X.cols(), 1);
        be.add_rms_norm(T(epsilon), w.gamma, a, X, r_, place(be, Y));
        return;
      }
    }
    be.apply(add_kernel<T>{}, X, a);
    forward(be, kind, epsilon, w, X, Y);
  }
  // Y once more, from the X of forward.
  void repeat(Be& be, norm_kind kind, double epsilon, const norm_weights<Be>& w,
              activations<Be>& Y) {
    forward(be, kind, epsilon, w, X_, Y);
  }
  // d is ∂/∂Y and is overwritten; ∂/∂X is added to dX.
  void backward(Be& be, norm_kind kind, const norm_weights<Be>& w, activation_view<Be> d,
                activation_view<Be> dX) {
    if (kind == norm_kind::rms) {
      be.rms_norm_gradient(w.gamma, X_, r_, d, dX);
    } else {
      be.layer_norm_gradient(w.gamma, normalized_, r_, d);
      be.apply(add_kernel<T>{}, dX, const_activation_view<Be>(d));
    }
  }
  // repeat and backward, in one pass where the backend can. d is not empty.
  void backward_and_repeat(Be& be, norm_kind kind, double epsilon, const norm_weights<Be>& w,
                           activation_view<Be> d, activation_view<Be> dX, activations<Be>& Y) {
    if constexpr (repeats_norm<Be>) {
      if (kind == norm_kind::rms) {
        be.rms_norm_gradient(w.gamma, X_, r_, d, dX, place(be, Y));
        return;
      }
    }
    repeat(be, kind, epsilon, w, Y);
    backward(be, kind, w, d, dX);
  }

  // Where forward writes, or wrote, the Y of X.
  activation_view<Be> place(Be& be, activations<Be>& Y) const {
    be.resize(Y, X_.rows() + room_, X_.cols());
    return view(Y).row_range(0, X_.rows());
  }

 private:
  index_t room_ = 0;
  const_activation_view<Be> X_;
  mat<Be> r_;
  activations<Be> normalized_;
};

}  // namespace preheat::nn
