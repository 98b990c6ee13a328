// From the tokens of each sequence to one column, their mean or the first of them; and columns
// scaled to length one. X is features × tokens, P is features × sequences.
//
//   mean      p_s = (1/n_s)·Σ_t x_t        backward  dx_t = dp_s/n_s
//   first     p_s = x of the first token   backward  dx = dp_s there, 0 elsewhere
//   length 1  e = p/max(‖p‖, 1e-12)        backward  dp = (de − e·(e·de))/‖p‖
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../linalg/elementwise.hpp"

namespace preheat::nn {

template <backend Be>
void mean_of_tokens(Be& be, const_view_of<Be> X, const std::vector<index_t>& lengths, mat<Be>& P) {
  be.resize(P, X.rows(), index_t(lengths.size()));
  be.fill(0, P);
  index_t first = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    be.add_row_sums(scalar_of<Be>(1) / scalar_of<Be>(lengths[s]), X.col_range(first, lengths[s]),
                    view(P).col_range(index_t(s), 1));
    first += lengths[s];
  }
}
// dP is overwritten.
template <backend Be>
void mean_of_tokens_gradient(Be& be, view_of<Be> dP, const std::vector<index_t>& lengths,
                             view_of<Be> dX) {
  using T = scalar_of<Be>;
  be.fill(0, dX);
  index_t first = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    const view_of<Be> column = dP.col_range(index_t(s), 1);
    be.apply(linalg::scale<T>{T(1) / T(lengths[s])}, column);
    be.add_to_cols(column, dX.col_range(first, lengths[s]));
    first += lengths[s];
  }
}

template <backend Be>
void first_tokens(Be& be, const_view_of<Be> X, const std::vector<index_t>& lengths, mat<Be>& P) {
  be.resize(P, X.rows(), index_t(lengths.size()));
  index_t first = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    be.copy(transpose::no, X.col_range(first, 1), view(P).col_range(index_t(s), 1));
    first += lengths[s];
  }
}
template <backend Be>
void first_tokens_gradient(Be& be, const_view_of<Be> dP, const std::vector<index_t>& lengths,
                           view_of<Be> dX) {
  be.fill(0, dX);
  index_t first = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    be.copy(transpose::no, dP.col_range(index_t(s), 1), dX.col_range(first, 1));
    first += lengths[s];
  }
}

template <class T>
struct inverse_norm {  // x = 1/max(√x, 1e-12)
  constexpr void operator()(T& x) const { x = 1 / std::max(std::sqrt(x), T(1e-12)); }
};

// Scales columns to length one. Cost: two passes and a transposition in each direction, suited to
// few columns.
template <backend Be>
class unit_columns {
 public:
  using T = scalar_of<Be>;

  // P becomes E and must not change until backward.
  void forward(Be& be, view_of<Be> P) {
    be.resize(inverse_norms_, P.cols(), 1);
    column_dots(be, P, P, inverse_norms_);
    be.apply(inverse_norm<T>{}, inverse_norms_);
    be.scale_cols(inverse_norms_, P);
  }
  // d is ∂/∂E and becomes ∂/∂P.
  void backward(Be& be, const_view_of<Be> E, view_of<Be> d) {
    be.resize(dots_, E.cols(), 1);
    be.resize(along_, E.rows(), E.cols());
    column_dots(be, E, d, dots_);
    be.copy(transpose::no, E, along_);
    be.scale_cols(dots_, along_);
    be.apply(linalg::axpby<T>{-1, 1}, d, along_);
    be.scale_cols(inverse_norms_, d);
  }

 private:
  void column_dots(Be& be, const_view_of<Be> a, const_view_of<Be> b, mat<Be>& dots) {
    be.resize(a_transposed_, a.cols(), a.rows());
    be.resize(b_transposed_, a.cols(), a.rows());
    be.copy(transpose::yes, a, a_transposed_);
    be.copy(transpose::yes, b, b_transposed_);
    be.fill(0, dots);
    be.add_row_dots(1, a_transposed_, b_transposed_, dots);
  }

  mat<Be> inverse_norms_;
  mat<Be> dots_;
  mat<Be> along_;
  mat<Be> a_transposed_, b_transposed_;
};

}  // namespace preheat::nn
