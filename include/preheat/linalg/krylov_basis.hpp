// How the blocks of a Krylov space become orthonormal (krylov_svd.hpp): Householder's QR, whose numbers the
// host looks at and mends; or, on a device, Cholesky factors of Gram matrices in double, without a wait, and a
// look at the whole basis afterwards.
#pragma once
#include <limits>
#include <utility>

#include "device_gram_svd.hpp"

namespace preheat::linalg::detail {

// X becomes an orthonormal basis of what its columns add to the orthonormal columns of Q.
template <backend Be, random_generator G>
void orthonormalize_against(Be& be, const_view_of<Be> Q, mat<Be>& X, const G& gen) {
  using T = scalar_of<Be>;
  if (Q.cols() == 0) {
    X = be.qr(X).Q;
    return;
  }
  // Subtracts from X its part in span(Q), and returns ‖QᵀX‖².
  const auto project = [&] {
    const mat<Be> part = product<Be>(be, transpose::yes, Q, transpose::no, X);
    be.gemm(-1, transpose::no, Q, transpose::no, part, 1, X);
    return double(be.dot(part, part));
  };
  const double rounding = 8 * double(std::numeric_limits<T>::epsilon()) * double(be.max_abs(X));
  project();
  qr_result<mat<Be>> f = be.qr(X);
  if (smallest_diagonal(be, f.R) <= 8 * rounding) {
    // Some column adds nothing: what is left of it is rounding, which lies anywhere. A random part
    // larger than that gives it a direction of its own.
    const double level = rounding > 0 ? rounding : 1;
    be.apply(axpby<T>{1, 1}, X, normal(be, X.rows(), X.cols(), level, gen));
    project();
    f = be.qr(X);
  }
  X = std::move(f.Q);
  // Now XᵀX = I, and I − (QᵀX)ᵀ(QᵀX) once what rounding left in span(Q) is subtracted.
  if (project() > double(std::numeric_limits<T>::epsilon()) / 4) {
    X = be.qr(X).Q;
  }
}

// The basis by `orthonormalize_against`: Q has the columns before `first`.
template <backend Be, random_generator G>
struct careful_basis {
  Be& be;
  const mat<Be>& Q;
  const G& gen;
  mat<Be> operator()(index_t first, const_view_of<Be> X) {
    mat<Be> added = clone<Be>(be, X);
    orthonormalize_against<Be>(be, view(Q).col_range(0, first), added,
                               gen.fork(purpose::completion, std::uint64_t(first)));
    return added;
  }
  static bool holds() { return true; }
};

// The basis in double, each block twice projected and made orthonormal by Cholesky's factor, which is good for
// condition numbers up to 1e7: all that floats can hold. A block whose columns add nothing becomes NaN, or
// anything; the end shows it.
// Cost: 8·m·c·b + 8·m·b² operations in double for a block of b columns after c others.
template <class Be>
class unwaited_basis {
 public:
  unwaited_basis(Be& be, index_t rows, index_t columns)
      : be_(be), wide_(in_higher_precision(be)), Q_(sized(wide_, rows, columns)) {}

  mat<Be> operator()(index_t first, const_view_of<Be> next) {
    const const_view_of<wider<Be>> before = view(std::as_const(Q_)).col_range(0, first);
    mat<wider<Be>> X = widened<Be>(be_, wide_, next);
    for (int pass = 0; pass < 2; ++pass) {
      if (first > 0) {
        const mat<wider<Be>> part =
            product<wider<Be>>(wide_, transpose::yes, before, transpose::no, X);
        wide_.gemm(-1, transpose::no, before, transpose::no, part, 1, X);
      }
      mat<wider<Be>> R = gram<wider<Be>>(wide_, transpose::yes, X);
      mat<wider<Be>> inverse = identity(wide_, R.rows());
      wide_.cholesky_or_nan(R);
      wide_.solve_upper(transpose::no, R, inverse);
      X = product<wider<Be>>(wide_, transpose::no, X, transpose::no, inverse);
    }
    wide_.copy(transpose::no, X, view(Q_).col_range(first, next.cols()));
    return rounded<Be>(be_, X);
  }
  // Whether all columns are orthonormal. Waits.
  bool holds() {
    constexpr double tolerance = 1e-10;
    mat<wider<Be>> defect = gram<wider<Be>>(wide_, transpose::yes, Q_);
    wide_.apply_indexed(add_to_diagonal<scalar_of<wider<Be>>>{-1, defect.rows()}, defect);
    return wide_.max_abs(defect) <= tolerance;
  }

 private:
  Be& be_;
  wider<Be> wide_;
  mat<wider<Be>> Q_;
};

}  // namespace preheat::linalg::detail
