// What is done to the gradient of the whole network between the backward pass and the optimizer.
#pragma once
#include <cmath>

#include "../linalg/elementwise.hpp"
#include "adapted.hpp"

namespace preheat {

// Every gradient times `factor`.
template <backend Be, class Adapter>
void scale_gradients(adapted<Be, Adapter>& lin, double factor) {
  using T = scalar_of<Be>;
  for (auto& s : lin.slots()) {
    if (s.attached) {
      visit([&](auto, auto& g) { lin.backend().each(linalg::scale<T>{T(factor)}, g); }, s.gradient);
    }
  }
}

// The Frobenius norm of the whole gradient.
template <backend Be, class Adapter>
double gradient_norm(adapted<Be, Adapter>& lin) {
  double square = 0;
  for (auto& s : lin.slots()) {
    if (s.attached) {
      visit([&](auto, auto& g) { square += double(lin.backend().dot(g, g)); }, s.gradient);
    }
  }
  return std::sqrt(square);
}

// torch.nn.utils.clip_grad_norm_: the gradient, the head's included, times
// min(1, bound/(norm + 1e-6)).
template <backend Be, class Adapter, class Head>
void clip_gradients(adapted<Be, Adapter>& lin, Head& head, double bound) {
  const double norm = std::hypot(gradient_norm(lin), head.gradient_norm());
  const double factor = bound / (norm + 1e-6);
  if (factor < 1) {
    scale_gradients(lin, factor);
    head.scale_gradient(factor);
  }
}

}  // namespace preheat
