// Layer normalization over the features of a token (Ba, Kiros, Hinton, arXiv 1607.06450):
//
//   x̂ = (x − mean(x))/√(var(x) + ε),  y = γ⊙x̂ + β
//   backward, for x alone (γ and β are frozen):  g = γ⊙dy,
//   dx = (g − mean(g) − x̂⊙mean(g⊙x̂))/√(var(x) + ε)
//
// X is features × N; γ and β are features × 1. Cost: one pass over X in each direction.
#pragma once
#include "encoder_backend.hpp"

namespace preheat::nn {

template <class Be>
struct layer_norm_weights {
  mat<Be> gamma;
  mat<Be> beta;
};

// One use of a layer normalization in a pass, of scalars or of activations, with the buffers that backward needs.
template <encoder_backend Be, class Number = scalar_of<Be>>
class layer_norm {
 public:
  // X becomes x̂ and must not change until backward. The result is valid until the next forward.
  view<const Number> forward(Be& be, const layer_norm_weights<Be>& w, double epsilon,
                             view<Number> X) {
    normalized_ = X;
    be.resize(inverse_deviations_, X.cols(), 1);
    be.resize(Y_, X.rows(), X.cols());
    be.layer_norm(scalar_of<Be>(epsilon), w.gamma, w.beta, X, inverse_deviations_, Y_);
    return Y_;
  }
  // d is ∂/∂Y and becomes ∂/∂X.
  void backward(Be& be, const layer_norm_weights<Be>& w, view<Number> d) {
    be.layer_norm_gradient(w.gamma, normalized_, inverse_deviations_, d);
  }
  view<const Number> output() const { return Y_; }

 private:
  view<Number> normalized_;
  mat<Be> inverse_deviations_;
  matrix_of<Be, Number> Y_;
};

}  // namespace preheat::nn
