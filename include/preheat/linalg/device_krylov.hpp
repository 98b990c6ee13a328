// How the blocks of a Krylov space (krylov_svd.hpp) become orthonormal on a device without a wait: by Cholesky
// factors of Gram matrices in double, and a look at the whole basis afterwards.
#pragma once
#include <utility>

#include "device_gram_svd.hpp"

namespace preheat::linalg::detail {

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
