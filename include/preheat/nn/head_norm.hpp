// RMS normalization of each head's features, with one γ for all heads, as Qwen3 has it on queries and
// keys (nn/pre_norm.hpp has the formula).
#pragma once
#include "decoder_backend.hpp"

namespace preheat::nn {

template <decoder_backend Be>
class head_norm {
 public:
  // Y = norm(X) of every head of X (heads·d × N), d = rows of γ. X must not change until backward.
  activation_view<Be> forward(Be& be, double epsilon, const mat<Be>& gamma,
                              const_activation_view<Be> X) {
    X_ = X;
    be.resize(r_, X.cols(), X.rows() / gamma.rows());
    be.resize(Y_, X.rows(), X.cols());
    each_head(gamma.rows(), [&](index_t row, view_of<Be> r) {
      be.rms_norm(scalar_of<Be>(epsilon), gamma, X.row_range(row, gamma.rows()), r,
                  view(Y_).row_range(row, gamma.rows()));
    });
    return Y_;
  }
  // d is ∂/∂Y and becomes ∂/∂X; `place` is memory.
  void backward(Be& be, const mat<Be>& gamma, activation_view<Be> d, activations<Be>& place) {
    be.resize(place, d.rows(), d.cols());
    be.fill(0, place);
    each_head(gamma.rows(), [&](index_t row, view_of<Be> r) {
      be.rms_norm_gradient(gamma, X_.row_range(row, gamma.rows()), r,
                           const_activation_view<Be>(d).row_range(row, gamma.rows()),
                           view(place).row_range(row, gamma.rows()));
    });
    be.copy(transpose::no, place, d);
  }

 private:
  template <class F>
  void each_head(index_t size, F f) {
    for (index_t h = 0; h * size < X_.rows(); ++h) {
      f(h * size, view_of<Be>(r_).col_range(h, 1));
    }
  }

  const_activation_view<Be> X_;
  mat<Be> r_;  // N × heads
  activations<Be> Y_;
};

}  // namespace preheat::nn
