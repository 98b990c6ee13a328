// What adapters have in common: the frozen linear map and its transpose, a ΔW that is formed whole, and
// the way from the input to the ranks and back.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::adapter {

// Y = W·X + keep·Y + b
template <backend Be>
[[gnu::noinline]] void frozen_forward(Be& be, const frozen_linear<Be>& base, const_view_of<Be> X,
                                      view_of<Be> Y, scalar_of<Be> keep = 0) {
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

// What adapters share that form ΔW whole, D m×n: Y = W·X + D·X̃ + b; E = dY·X̃ᵀ, the gradient of D; and
// dX = Wᵀ·dY + Dᵀ·dY, where it is wanted.
template <backend Be>
void forward_with_delta(Be& be, const frozen_linear<Be>& base, const mat<Be>& D,
                        const layer_input<Be>& x, view_of<Be> Y) {
  frozen_forward(be, base, x.base, Y);
  be.gemm(1, transpose::no, D, transpose::no, x.adapter_input, 1, Y);
}
template <backend Be>
void gradient_of_delta(Be& be, const layer_input<Be>& x, const_view_of<Be> dY, mat<Be>& E) {
  be.resize(E, dY.rows(), x.adapter_input.rows());
  be.gemm(1, transpose::no, dY, transpose::yes, x.adapter_input, 0, E);
}
template <backend Be>
void backward_with_delta(Be& be, const frozen_linear<Be>& base, const mat<Be>& D,
                         const_view_of<Be> dY, const input_gradient<Be>& dx) {
  if (dx.wanted()) {
    frozen_backward(be, base, dY, dx.base);
    be.gemm(1, transpose::yes, D, transpose::no, dY, 1, dx.adapter_input);
  }
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
