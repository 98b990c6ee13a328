// Operations on the gradient of the whole network between the backward pass and the optimizer.
#pragma once
#include <cmath>
#include <span>
#include <vector>

#include "../linalg/elementwise.hpp"
#include "../operators/adapted.hpp"

namespace preheat {

// Multiplies every gradient by `factor`.
template <backend Be, class Adapter>
void scale_gradients(adapted<Be, Adapter>& linear, double factor) {
  using T = scalar_of<Be>;
  in_few_launches(linear.backend(), [&] {
    for (auto& s : linear.layers()) {
      if (s.attached) {
        for_each_trained(
            [&](auto, auto& g) { linear.backend().apply(linalg::scale<T>{T(factor)}, g); },
            s.gradient);
      }
    }
  });
}

// The Frobenius norm of the whole gradient.
template <backend Be, class Adapter>
double gradient_norm(adapted<Be, Adapter>& linear) {
  double square = 0;
  for (auto& s : linear.layers()) {
    if (s.attached) {
      for_each_trained([&](auto, auto& g) { square += double(linear.backend().dot(g, g)); },
                       s.gradient);
    }
  }
  return std::sqrt(square);
}

// Multiplies the gradient, the head's included, by min(1, bound/(norm + 1e-6)), as
// torch.nn.utils.clip_grad_norm_.
template <backend Be, class Adapter, class Head>
void clip_gradients(adapted<Be, Adapter>& linear, Head& head, double bound) {
  if constexpr (requires(Be & be, std::span<const view_of<Be>> all) { be.clip(bound, all); }) {
    std::vector<view_of<Be>> all;  // a device need not tell the host their norm
    for (auto& s : linear.layers()) {
      if (s.attached) {
        for_each_trained([&](auto, auto& g) { all.push_back(g); }, s.gradient);
      }
    }
    head.each_gradient([&](mat<Be>& g) { all.push_back(g); });
    in_few_launches(linear.backend(), [&] { linear.backend().clip(bound, all); });
    return;
  }
  const double norm = std::hypot(gradient_norm(linear), head.gradient_norm());
  const double factor = bound / (norm + 1e-6);
  if (factor < 1) {
    scale_gradients(linear, factor);
    head.scale_gradient(factor);
  }
}

}  // namespace preheat
