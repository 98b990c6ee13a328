// What a decoder requires of a backend besides what an encoder requires: a softmax that sees no
// later token, and RMS normalization with its gradient.
#pragma once
#include "encoder_backend.hpp"
#include "loss.hpp"

namespace preheat::nn {

template <class Be>
concept decoder_backend = encoder_backend<Be> && classifier_backend<Be> &&
    requires(Be& be, index_t k, scalar_of<Be> epsilon, const_view_of<Be> a, view_of<Be> x) {
  // softmax_cols_causal(shift, window, x): the softmax of column j over the rows i with
  // j + shift − window < i <= j + shift; its other rows become 0. 0 <= shift, 1 <= window,
  // columns + shift <= rows.
  { be.softmax_cols_causal(k, k, x) } -> std::same_as<void>;
  // rms_norm(ε, γ, x, r, y): r_j = 1/√(mean_i(x_ij²) + ε), y_ij = γ_i·r_j·x_ij. γ is rows×1, r is
  // cols×1.
  { be.rms_norm(epsilon, a, a, x, x) } -> std::same_as<void>;
  // rms_norm_gradient(γ, x, r, d, dx): d is the gradient with respect to y, and that with respect to
  // x is added to dx: with g = γ·d, dx_ij += r_j·(g_ij − x_ij·r_j²·mean_i(g_ij·x_ij)).
  { be.rms_norm_gradient(a, a, a, a, x) } -> std::same_as<void>;
};

}  // namespace preheat::nn
