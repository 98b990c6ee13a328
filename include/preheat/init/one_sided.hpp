// What the inits of product zero share: one factor has rows (or columns) of a chosen norm, and the
// other is zero.
#pragma once
#include <algorithm>
#include <concepts>
#include <functional>

#include "../linalg/orthogonal.hpp"

namespace preheat::init {

// The norm that an init gives to every row of A (or column of B): a number, or the expected norm of
// another init, so that inits can be compared at equal size.
//
//   init::hrp<>{.row_norm = 1.0}
//   init::hrp<>{.row_norm = init::gaussian{}}
class row_norm_rule {
 public:
  row_norm_rule(double norm) : rule_([norm](index_t, index_t) { return norm; }) {
    require(norm > 0, "row norm > 0", norm, 0.0);
  }
  template <class Init>
  requires requires(const Init init, index_t k) {
    { init.expected_row_norm(k, k) } -> std::convertible_to<double>;
  }
  row_norm_rule(const Init& like)
      : rule_([like](index_t rank, index_t length) {
          return like.expected_row_norm(rank, length);
        }) {}

  // For `rank` rows of `length` entries.
  double operator()(index_t rank, index_t length) const { return rule_(rank, length); }

 private:
  std::function<double(index_t, index_t)> rule_;
};

// Puts the r×length rows that draw(r, length) returns on the side that the adapter can use: they
// are A (length n) and B = 0, or, when only A is trained, their transpose is B (length m) and A =
// 0. With row_norm > 0 every row is scaled to that norm.
template <backend Be, class Draw>
[[gnu::cold]] factors<Be> one_sided(Be& be, const target_layer<Be>& s, double row_norm, Draw draw) {
  const index_t m = s.W.rows();
  const index_t n = s.W.cols();
  require(1 <= s.rank && s.rank <= std::min(m, n), "1 <= rank <= min(out, in)", s.rank,
          std::min(m, n));
  require(row_norm >= 0, "row norm >= 0", row_norm, 0.0);
  const bool left = s.side == singular_side::left;
  mat<Be> rows = draw(s.rank, left ? m : n);
  if (row_norm > 0) {
    linalg::set_row_norms(be, rows, row_norm);
  }
  if (left) {
    return {be.zeros(s.rank, n), linalg::transposed(be, rows)};
  }
  return {std::move(rows), be.zeros(m, s.rank)};
}

}  // namespace preheat::init
