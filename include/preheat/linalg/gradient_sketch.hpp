// A low-rank approximation of G = Σ w·dY·Xᵀ (m×n) that is never formed: G enters as products with
// thin random matrices. Ω is n×k, Ψ is l×m, Gaussian; a batch is n×N and m×N.
//
//   two passes   Y = Σ w·dY·(Xᵀ·Ω) = G·Ω,  Q = orth(Y);  then  Z = Σ w·(Qᵀ·dY)·Xᵀ = Qᵀ·G;
//                G ≈ Q·Z, the projection on the range of Q: Halko, Martinsson, Tropp, "Finding
//                structure with randomness", SIAM Review 53, 2011, algorithm 4.1. For any target
//                rank r = k − p, r and p >= 2 (theorem 10.5)
//                    E‖G − Q·Z‖_F <= √(1 + r/(p − 1))·(Σ_{i>r} σ_i²)^½.
//   one pass     Y = G·Ω and Z = Ψ·G together;  G ≈ Q·(Ψ·Q)⁺·Z: Tropp, Yurtsever, Udell, Cevher,
//                "Practical sketching algorithms for low-rank matrix approximation", SIAM J. Matrix
//                Anal. Appl. 38, 2017. With f(s, t) = s/(t − s − 1) (theorem 4.3, real case)
//                    E‖G − Q·X‖_F² <= (1 + f(k, l))·min_{r < k−1} (1 + f(r, k))·Σ_{i>r} σ_i²,
//                X = (Ψ·Q)⁺·Z. We take l = 2k + 1, which makes the first factor 2.
//
// Both are exact, to rounding, for a G of rank <= k. One pass halves the passes over the data and
// is less accurate; both passes must see the same batches.
// Memory: (m + n)·k numbers in two passes, (m + n)·(k + l) in one, and a buffer of a batch's tokens
// by k or l. Cost: 2·N·k·(m + n) operations a batch and pass (one pass: and 2·N·l·(m + n)), then a
// QR. Errors: k < 1 or k > min(m, n). A G of zeros gives Z = 0 and some orthonormal Q.
#pragma once
#include <algorithm>
#include <utility>

#include "orthogonal.hpp"

namespace preheat::linalg {

namespace detail {
inline void require_sketch(index_t m, index_t n, index_t k) {
  require(1 <= k && k <= std::min(m, n), "gradient sketch: 1 <= columns <= min(out, in)", k,
          std::min(m, n));
}
}  // namespace detail

// Use: `passes` times, add() every batch and then end_pass(); then take approximation().
template <backend Be>
class two_pass_sketch {
 public:
  static constexpr int passes = 2;

  two_pass_sketch() = default;
  two_pass_sketch(Be& be, index_t m, index_t n, index_t k, const generator& gen) {
    detail::require_sketch(m, n, k);
    omega_ = normal(be, n, k, 1, gen.fork(purpose::sketch, 0));
    sum_ = be.zeros(m, k);
  }

  // G += w·dY·Xᵀ
  void add(Be& be, scalar_of<Be> w, const_view_of<Be> dY, const_view_of<Be> X) {
    if (Q_.rows() == 0) {
      be.resize(thin_, X.cols(), omega_.cols());
      be.gemm(1, transpose::yes, X, transpose::no, omega_, 0, thin_);
      be.gemm(w, transpose::no, dY, transpose::no, thin_, 1, sum_);
    } else {
      be.resize(thin_, Q_.cols(), dY.cols());
      be.gemm(1, transpose::yes, Q_, transpose::no, dY, 0, thin_);
      be.gemm(w, transpose::no, thin_, transpose::yes, X, 1, sum_);
    }
  }
  void end_pass(Be& be) {
    if (Q_.rows() == 0) {
      Q_ = be.qr(sum_).Q;
      sum_ = be.zeros(Q_.cols(), omega_.rows());
    }
  }
  // What this pass has summed so far: finite if and only if the gradients were.
  const mat<Be>& sum() const { return sum_; }
  // G ≈ B·A, B with orthonormal columns: m×k and k×n.
  factors<Be> approximation(Be& be) const { return {clone<Be>(be, sum_), clone<Be>(be, Q_)}; }

 private:
  mat<Be> omega_;
  mat<Be> sum_;  // Y, then Z
  mat<Be> Q_;
  mat<Be> thin_;
};

template <backend Be>
class one_pass_sketch {
 public:
  static constexpr int passes = 1;

  one_pass_sketch() = default;
  one_pass_sketch(Be& be, index_t m, index_t n, index_t k, const generator& gen) {
    detail::require_sketch(m, n, k);
    const index_t l = 2 * k + 1;
    omega_ = normal(be, n, k, 1, gen.fork(purpose::sketch, 0));
    psi_ = normal(be, l, m, 1, gen.fork(purpose::sketch, 1));
    range_ = be.zeros(m, k);
    corange_ = be.zeros(l, n);
  }

  // G += w·dY·Xᵀ
  void add(Be& be, scalar_of<Be> w, const_view_of<Be> dY, const_view_of<Be> X) {
    be.resize(thin_, X.cols(), omega_.cols());
    be.gemm(1, transpose::yes, X, transpose::no, omega_, 0, thin_);
    be.gemm(w, transpose::no, dY, transpose::no, thin_, 1, range_);
    be.resize(low_, psi_.rows(), dY.cols());
    be.gemm(1, transpose::no, psi_, transpose::no, dY, 0, low_);
    be.gemm(w, transpose::no, low_, transpose::yes, X, 1, corange_);
  }
  void end_pass(Be&) {}
  const mat<Be>& sum() const { return range_; }
  // G ≈ B·A, B = Q and A = (Ψ·Q)⁺·Z, by the QR factorization Ψ·Q = P·T: A = T⁻¹·Pᵀ·Z.
  factors<Be> approximation(Be& be) const {
    mat<Be> Q = be.qr(range_).Q;
    const qr_result<mat<Be>> f = be.qr(product<Be>(be, transpose::no, psi_, transpose::no, Q));
    mat<Be> A = product<Be>(be, transpose::yes, f.Q, transpose::no, corange_);
    be.solve_upper(transpose::no, f.R, A);
    return {std::move(A), std::move(Q)};
  }

 private:
  mat<Be> omega_;    // Ω
  mat<Be> psi_;      // Ψ
  mat<Be> range_;    // Y = G·Ω
  mat<Be> corange_;  // Z = Ψ·G
  mat<Be> thin_;
  mat<Be> low_;
};

}  // namespace preheat::linalg
