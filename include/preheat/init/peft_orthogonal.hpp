// init_lora_weights="orthogonal" of [PEFT]: both factors are nonzero and their product is zero,
// because their ranks lie in two spaces that are orthogonal to each other. (init::orthogonal is
// another init, with orthonormal rows of A and B = 0.) With a random orthogonal Q (r×r), Q_odd its
// rows 1, 3, 5, … and Q_even its rows 2, 4, 6, … (r/2×r), X (n×r/2) and Y (r/2×m) of N(0, 1)
// entries,
//
//   A = (X·Q_odd)ᵀ/10 (r×n),  B = Yᵀ·Q_even/10 (m×r),  B·A = Yᵀ·Q_even·Q_oddᵀ·Xᵀ/100 = 0.
//
// A and B have rank r/2 each. The output changes by rounding only, and W is unchanged. Q is
// uniformly distributed ([PEFT] takes the Q of a QR as it comes).
//
// Errors: odd rank; rank < 1 or [preheat] rank > min(m, n); size <= 0. Cost: O((m + n)·r²).
#pragma once
#include <algorithm>

#include "../linalg/orthogonal.hpp"

namespace preheat::init {

struct peft_orthogonal {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero_product;

  double size = 0.1;  // the factor on A and B

  template <backend Be>
  factors<Be> operator()(Be& be, const target_layer<Be>& s) const {
    const index_t m = s.W.rows();
    const index_t n = s.W.cols();
    const index_t r = s.rank;
    require(1 <= r && r <= std::min(m, n), "init::peft_orthogonal: 1 <= rank <= min(out, in)", r,
            std::min(m, n));
    require(r % 2 == 0, "init::peft_orthogonal: rank mod 2 = 0", r % 2, 0);
    require(size > 0, "init::peft_orthogonal: size > 0", size, 0.0);
    const mat<Be> Q = linalg::orthonormal(be, r, r, s.gen.fork(purpose::factors, 0));
    const mat<Be> X = linalg::normal(be, n, r / 2, size, s.gen.fork(purpose::factors, 1));
    const mat<Be> Y = linalg::normal(be, r / 2, m, size, s.gen.fork(purpose::factors, 2));
    const mat<Be> odd = every_second_row(be, Q, 0);
    const mat<Be> even = every_second_row(be, Q, 1);
    return {linalg::product(be, transpose::yes, odd, transpose::yes, X),
            linalg::product(be, transpose::yes, Y, transpose::no, even)};
  }

 private:
  template <backend Be>
  static mat<Be> every_second_row(Be& be, const_view_of<Be> Q, index_t first) {
    mat<Be> rows = be.zeros(Q.rows() / 2, Q.cols());
    for (index_t k = 0; k < rows.rows(); ++k) {
      be.copy(transpose::no, Q.row_range(first + 2 * k, 1), view(rows).row_range(k, 1));
    }
    return rows;
  }
};

}  // namespace preheat::init
