// Activations of a decoder's MLP, alone and as the gate of a product (Shazeer, arXiv 2002.05202), with
// their gradients. Nothing is stored between forward and backward: σ is computed again.
//
//   silu        z·σ(z)
//   gelu        z·Φ(z)                                          (nn/gelu.hpp has it with Φ stored)
//   gelu_tanh   z·½(1 + tanh(y)) = z·σ(2y), y = √(2/π)·(z + 0.044715·z³)
//
// An activation is a struct with value(z) and slope(z), its derivative, for any value type.
#pragma once
#include <numbers>

#include "../core/math.hpp"
#include "decoder_config.hpp"

namespace preheat::nn {

template <class T, class V>
constexpr V sigmoid(const V& z) {
  using math::exp;
  return V(T(1)) / (V(T(1)) + exp(-z));
}

template <class T>
struct silu {
  template <class V>
  static constexpr V value(const V& z) {
    return z * sigmoid<T>(z);
  }
  template <class V>
  static constexpr V slope(const V& z) {
    const V s = sigmoid<T>(z);
    return s * (V(T(1)) + z * (V(T(1)) - s));
  }
};

template <class T>
struct gelu {
  template <class V>
  static constexpr V value(const V& z) {
    using math::erf;
    return z * (V(T(0.5)) * (V(T(1)) + erf(z * V(T(std::numbers::sqrt2 / 2)))));
  }
  template <class V>
  static constexpr V slope(const V& z) {
    using math::erf;
    using math::exp;
    const V cdf = V(T(0.5)) * (V(T(1)) + erf(z * V(T(std::numbers::sqrt2 / 2))));
    return cdf +
           z * (V(T(std::numbers::inv_sqrtpi / std::numbers::sqrt2)) * exp(V(T(-0.5)) * z * z));
  }
};

template <class T>
struct gelu_tanh {
  static constexpr double twice = 2 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi;  // 2·√(2/π)
  static constexpr double cubic = 0.044715;
  template <class V>
  static constexpr V value(const V& z) {
    return z * sigmoid<T>(V(T(twice)) * (z + V(T(cubic)) * z * z * z));
  }
  template <class V>
  static constexpr V slope(const V& z) {
    const V s = sigmoid<T>(V(T(twice)) * (z + V(T(cubic)) * z * z * z));
    const V inner = V(T(twice)) * (V(T(1)) + V(T(3 * cubic)) * z * z);
    return s + z * (s * (V(T(1)) - s) * inner);
  }
};

// h = act(z)
template <class Activation>
struct activation_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& h, const V& z) const {
    h = Activation::value(z);
  }
};
// d = d·act'(z)
template <class Activation>
struct activation_gradient_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& d, const V& z) const {
    d *= Activation::slope(z);
  }
};
// h = act(z)·u
template <class Activation>
struct gate_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& h, const V& z, const V& u) const {
    h = Activation::value(z) * u;
  }
};
// From d = ∂/∂h: dz = d·u·act'(z), then d becomes ∂/∂u = d·act(z).
template <class Activation>
struct gate_gradient_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& d, V& dz, const V& z, const V& u) const {
    dz = d * u * Activation::slope(z);
    d *= Activation::value(z);
  }
};
// The same with ∂/∂u in a place of its own.
template <class Activation>
struct split_gate_gradient_kernel {
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& du, V& dz, const V& d, const V& z, const V& u) const {
    dz = d * u * Activation::slope(z);
    du = d * Activation::value(z);
  }
};
// The same, and h = act(z)·u once more.
template <class Activation>
struct gate_again_kernel {
  static constexpr bool any_value = true;
  template <class V>
  constexpr void operator()(V& du, V& dz, V& h, const V& d, const V& z, const V& u) const {
    const V value = Activation::value(z);
    dz = d * u * Activation::slope(z);
    du = d * value;
    h = value * u;
  }
};

// f(activation) with the activation of that kind.
template <class T, class F>
void with_activation(activation_kind kind, F f) {
  switch (kind) {
    case activation_kind::silu:
      return f(silu<T>{});
    case activation_kind::gelu:
      return f(gelu<T>{});
    case activation_kind::gelu_tanh:
      return f(gelu_tanh<T>{});
  }
}

}  // namespace preheat::nn
