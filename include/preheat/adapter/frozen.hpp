// What the low-rank adapters have in common: the frozen linear map and its transpose, and the way
// from the input to the ranks and back.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::adapter {

// Y = W·X + keep·Y + b
template <backend Be>
void frozen_forward(Be& be, const frozen_linear<Be>& base, const_view_of<Be> X, view_of<Be> Y,
                    scalar_of<Be> keep = 0) {
  be.gemm(1, transpose::no, base.W, transpose::no, X, keep, Y);
  if (!base.b.empty()) {
    be.add_to_cols(base.b, Y);
  }
}

// dX = Wᵀ·dY
template <backend Be>
void frozen_backward(Be& be, const frozen_linear<Be>& base, const_view_of<Be> dY, view_of<Be> dX) {
  be.gemm(1, transpose::yes, base.W, transpose::no, dY, 0, dX);
}

// H = A·X̃, r×N, where X̃ is the adapter's input.
template <backend Be>
void to_ranks(Be& be, const_view_of<Be> A, const_view_of<Be> X, mat<Be>& H) {
  be.resize(H, A.rows(), X.cols());
  be.gemm(1, transpose::no, A, transpose::no, X, 0, H);
}

// dX = Wᵀ·dY + s·Aᵀ·D, where the gradient of the input is wanted.
template <backend Be>
void backward_from_ranks(Be& be, const frozen_linear<Be>& base, const_view_of<Be> A,
                         scalar_of<Be> s, const_view_of<Be> D, const_view_of<Be> dY,
                         const input_gradient<Be>& dx) {
  if (dx.wanted()) {
    frozen_backward(be, base, dY, dx.base);
    be.gemm(s, transpose::yes, A, transpose::no, D, 1, dx.adapter_input);
  }
}

}  // namespace preheat::adapter
