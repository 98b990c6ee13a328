// The default init of LoRA: A ~ U(−1/√n, 1/√n), B = 0 (Kaiming-uniform with a = √5 on the fan-in n,
// as torch.nn.Linear and init_lora_weights=True [PEFT]). The expected norm of a row is 1/√3.
#pragma once
#include <cmath>

#include "one_sided.hpp"

namespace preheat::init {

struct kaiming {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  double row_norm = 0;  // > 0: rescale every row of A to this norm

  // The root mean square norm of a row of A.
  double expected_row_norm(index_t, index_t) const {
    return row_norm > 0 ? row_norm : 1 / std::sqrt(3.0);
  }

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    return one_sided(be, s, row_norm, [&](index_t r, index_t length) {
      return linalg::uniform(be, r, length, 1 / std::sqrt(double(length)), s.gen);
    });
  }
};

}  // namespace preheat::init
