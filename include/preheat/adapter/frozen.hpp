// What every low-rank adapter does around its own part: the frozen linear map, its transpose, and
// adding a product of factors to the weight.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::adapter {

// Y = W·X + b
template <backend Be>
void frozen_forward(Be& be, const frozen_linear<Be>& base, in<Be> X, out<Be> Y) {
  be.gemm(1, op::none, base.W, op::none, X, 0, Y);
  if (!base.b.empty()) {
    be.add_to_cols(base.b, Y);
  }
}

// dX = Wᵀ·dY
template <backend Be>
void frozen_backward(Be& be, const frozen_linear<Be>& base, in<Be> dY, out<Be> dX) {
  be.gemm(1, op::trans, base.W, op::none, dY, 0, dX);
}

// W += s·B·A
template <backend Be>
void merge_product(Be& be, const factors<Be>& f, scalar_of<Be> s, out<Be> W) {
  be.gemm(s, op::none, f.B, op::none, f.A, 1, W);
}

}  // namespace preheat::adapter
