// SOAP (Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", arXiv 2409.11321) of every matrix by
// itself: Adam in the eigenvectors of Shampoo's two Gram matrices. For a matrix x (m×n) with gradient g,
//
//   L ← β₂·L + (1 − β₂)·g·gᵀ (m×m),  K ← β₂·K + (1 − β₂)·gᵀ·g (n×n);  Q_L, Q_K their eigenvectors
//   m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·(Q_Lᵀ·g·Q_K)²
//   x ← (1 − η·λ)·(x − η·Q_L·[m̃·√(1 − β₂ᵗ)/(1 − β₁ᵗ)/(√v + ε)]·Q_Kᵀ),  m̃ = Q_Lᵀ·m·Q_K
//
// The first step only gathers L and K. The eigenvectors are those of the step before, and are computed anew
// every `frequency` steps. As in the authors' code (github.com/nikhilvyas/SOAP), with its β .95/.95, ε
// 1e-8, λ 0.01 and frequency 10; it follows the eigenvectors by one power iteration and a QR, here
// they are exact [preheat]. A side longer than `largest_side` is left as it is (one-sided SOAP), as are both of a
// vector: 10,000 there, 64 here [preheat], so that of A and B the side of the ranks counts and little is
// paid. While a Gram matrix has no full rank, its eigenvectors of zero are any. [preheat] A change of rank starts the state afresh.
//
// Cost per step: four products of a factor with its short sides, O(m·n·r), and O(r³) every `frequency` steps.
// State: two numbers per entry, and 2·k² for every side of length k that counts.
// Errors: an Adam setting out of range; frequency, largest_side < 1.
#pragma once
#include <cmath>

#include "../linalg/symmetric.hpp"
#include "adam.hpp"

namespace preheat::optim {

// d = m/(√v + ε)
template <class T>
struct root_quotient {
  T epsilon;
  constexpr void operator()(T& m, const T& v) const { m = m / (std::sqrt(v) + epsilon); }
};
// v = β·v + (1 − β)·g²
template <class T>
struct square_mean {
  T beta;
  constexpr void operator()(T& v, const T& g) const { v = beta * v + (1 - beta) * g * g; }
};

struct soap {
  using axis = axes::optim;

  double lr = 3e-3;
  double beta1 = 0.95;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  index_t frequency = 10;
  index_t largest_side = 64;

  template <class Be, class P>
  struct state {
    P m, v;
    P left, right;              // L and K, where they count
    P left_basis, right_basis;  // Q_L and Q_K
    index_t t = 0;              // steps, the first one included
    template <class F>
    void for_each_moment(F) {}
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      ar("m", m);
      ar("v", v);
      ar("left", left);
      ar("right", right);
      ar("left_basis", left_basis);
      ar("right_basis", right_basis);
    }
  };

  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    require_adam_settings(*this);
    require(frequency >= 1 && largest_side >= 1, "optim::soap: frequency, largest_side >= 1",
            frequency, largest_side);
    state<Be, P> st{zeros_like(be, p), zeros_like(be, p), {}, {}, {}, {}};
    const auto square_of = [&](index_t side, index_t other) {
      return side <= largest_side && side > 1 && other > 1 ? be.zeros(side, side) : mat<Be>{};
    };
    for_each_trained(
        [&](auto, const mat<Be>& x, mat<Be>& L, mat<Be>& K) {
          L = square_of(x.rows(), x.cols());
          K = square_of(x.cols(), x.rows());
        },
        p, st.left, st.right);
    return st;
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    bool as_before = true;
    for_each_trained(
        [&](auto, const mat<Be>& x, const mat<Be>& m) {
          as_before &= x.rows() == m.rows() && x.cols() == m.cols();
        },
        p, st.m);
    if (!as_before) {
      st = start(be, p);
    }
    const index_t t = st.t++;
    for_each_trained(
        [&](auto parameter, mat<Be>& x, const mat<Be>& g, mat<Be>& m, mat<Be>& v, mat<Be>& L,
            mat<Be>& K, mat<Be>& left, mat<Be>& right) {
          if (t > 0) {
            be.apply(linalg::axpby<T>{T(1 - beta1), T(beta1)}, m, g);
            be.apply(square_mean<T>{T(beta2)}, v, turned(be, transpose::yes, g, left, right));
            mat<Be> d = turned(be, transpose::yes, m, left, right);
            be.apply(root_quotient<T>{T(epsilon)}, d, v);
            const double rate = context.rate(parameter.role);
            const double kept = 1 - rate * weight_decay * context.decay(parameter.role);
            const double corrected =
                std::sqrt(1 - std::pow(beta2, double(t))) / (1 - std::pow(beta1, double(t)));
            be.apply(linalg::axpby<T>{T(-kept * rate * corrected), T(kept)}, x,
                     turned(be, transpose::no, d, left, right));
          }
          gather<Be>(be, transpose::no, g, t, L, left);
          gather<Be>(be, transpose::yes, g, t, K, right);
        },
        p, gradient, st.m, st.v, st.left, st.right, st.left_basis, st.right_basis);
  }

 private:
  // Into the eigenvectors (transpose::yes), or out of them. An empty basis is the unit matrix.
  template <backend Be>
  static mat<Be> turned(Be& be, transpose into, const mat<Be>& x, const mat<Be>& left,
                        const mat<Be>& right) {
    const transpose back = into == transpose::yes ? transpose::no : transpose::yes;
    mat<Be> y =
        left.rows() > 0 ? linalg::product<Be>(be, into, left, transpose::no, x) : clone<Be>(be, x);
    if (right.rows() > 0) {
      y = linalg::product<Be>(be, transpose::no, y, back, right);
    }
    return y;
  }
  // One side's Gram matrix, and its eigenvectors where they are due.
  template <backend Be>
  void gather(Be& be, transpose side, const mat<Be>& g, index_t t, mat<Be>& gram,
              mat<Be>& basis) const {
    if (gram.rows() == 0) {
      return;
    }
    be.apply(linalg::axpby<scalar_of<Be>>{scalar_of<Be>(1 - beta2), scalar_of<Be>(beta2)}, gram,
             linalg::gram<Be>(be, side, g));
    if (t % frequency == 0) {
      basis = linalg::symmetric_eigen<Be>(be, gram).vectors;
    }
  }
};

}  // namespace preheat::optim
