// A ~ N(0, σ²), B = 0, with σ = 1/r by default, as init_lora_weights="gaussian" [PEFT]. The
// expected norm of a row is σ·√n, several times that of a Kaiming or an orthonormal row.
#pragma once
#include <cmath>

#include "one_sided.hpp"

namespace preheat::init {

struct gaussian {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  double sigma = 0;     // 0: 1/r
  double row_norm = 0;  // > 0: rescale every row of A to this norm

  double deviation(index_t rank) const { return sigma > 0 ? sigma : 1 / double(rank); }
  // The root mean square norm of a row of A of the given length.
  double expected_row_norm(index_t rank, index_t length) const {
    return row_norm > 0 ? row_norm : deviation(rank) * std::sqrt(double(length));
  }

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    require(sigma >= 0, "standard deviation >= 0", sigma, 0.0);
    return one_sided(be, s, row_norm, [&](index_t r, index_t length) {
      return linalg::normal(be, r, length, deviation(r), s.gen);
    });
  }
};

}  // namespace preheat::init
