// GELU in its exact form (Hendrycks & Gimpel, arXiv 1606.08415): gelu(z) = z·Φ(z), Φ the cumulative
// normal distribution; gelu'(z) = Φ(z) + z·φ(z). Φ(z) is stored from forward to backward.
#pragma once
#include <numbers>

#include "../core/math.hpp"

namespace preheat::nn {

template <class T>
struct gelu_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& h, V& cdf, const V& z) const {
    using math::erf;
    cdf = T(0.5) * (T(1) + erf(z * T(std::numbers::sqrt2 / 2)));
    h = z * cdf;
  }
};
// d = d·gelu'(z)
template <class T>
struct gelu_gradient_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& d, const V& z, const V& cdf) const {
    using math::exp;
    const V density = T(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * exp(T(-0.5) * z * z);
    d *= cdf + z * density;
  }
};

}  // namespace preheat::nn
