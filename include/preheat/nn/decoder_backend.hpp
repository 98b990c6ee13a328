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

// What a backend may have besides, and a device should (encoder_backend.hpp says why).

// softmax_cols_causal(shift, window, period, x): the same for every `period` columns of x by themselves.
template <class Be>
concept attends_in_grids = decoder_backend<Be> && multiplies_grids<Be> &&
    requires(Be& be, index_t k, view_of<Be> x) {
  { be.softmax_cols_causal(k, k, k, x) } -> std::same_as<void>;
};

// turn_heads(sign, c, s, x): every head of x, as many rows as c and s have together, turns by the angles of
// its column: of its halves a and b, a becomes a⊙c − sign·b⊙s and b becomes b⊙c + sign·a⊙s.
template <class Be>
concept turns_heads = backend<Be> &&
    requires(Be& be, scalar_of<Be> sign, const_view_of<Be> a, view_of<Be> x) {
  { be.turn_heads(sign, a, a, x) } -> std::same_as<void>;
};

// add_rms_norm(ε, γ, a, x, r, y): x += a, then rms_norm(ε, γ, x, r, y).
template <class Be>
concept adds_before_norm = backend<Be> &&
    requires(Be& be, scalar_of<Be> epsilon, const_view_of<Be> a, view_of<Be> x) {
  { be.add_rms_norm(epsilon, a, a, x, x, x) } -> std::same_as<void>;
};

// rms_norm_gradient(γ, x, r, d, dx, y): the same with y once more.
template <class Be>
concept repeats_norm = backend<Be> && requires(Be& be, const_view_of<Be> a, view_of<Be> x) {
  { be.rms_norm_gradient(a, a, a, a, x, x) } -> std::same_as<void>;
};

// add_softmax_cross_entropy(w, z, labels, total): total += −w·Σ_j log softmax(z_j)[label_j], and z becomes
// the gradient of that sum. total is 1×1 and stays where it is. Labels are not checked: the total of a
// wrong one is NaN.
// send(total, number): total begins its way to the host, as it is after all that was asked for before. receive(number)
// returns it; the host waits for it alone, and not for what was asked for between.
template <class Be>
concept sums_losses = backend<Be> && requires(Be& be, scalar_of<Be> w, const_view_of<Be> labels,
                                              view_of<Be> x, typename Be::sent_number& number) {
  { be.add_softmax_cross_entropy(w, x, labels, x) } -> std::same_as<void>;
  { be.send(labels, number) } -> std::same_as<void>;
  { be.receive(number) } -> std::same_as<scalar_of<Be>>;
};

namespace detail {
template <class Be>
struct sent_loss {
  using type = scalar_of<Be>;
};
template <sums_losses Be>
struct sent_loss<Be> {
  using type = typename Be::sent_number;
};
}  // namespace detail

}  // namespace preheat::nn
