// GELU in its exact form (Hendrycks & Gimpel, arXiv 1606.08415): gelu(z) = z·Φ(z), Φ the cumulative
// normal distribution; gelu'(z) = Φ(z) + z·φ(z). The cdf is kept from forward to backward.
#pragma once
#include <numbers>

#include "../core/math.hpp"

namespace preheat::nn {

template <class T>
struct gelu_kernel {
  constexpr void operator()(T& h, T& cdf, const T& z) const {
    cdf = T(0.5) * (1 + math::erf(z * T(std::numbers::sqrt2 / 2)));
    h = z * cdf;
  }
};
// d = d·gelu'(z)
template <class T>
struct gelu_gradient_kernel {
  constexpr void operator()(T& d, const T& z, const T& cdf) const {
    const T density = T(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * math::exp(-z * z / 2);
    d *= cdf + z * density;
  }
};

}  // namespace preheat::nn
