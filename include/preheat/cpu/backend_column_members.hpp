// The members of preheat::cpu on whole columns: losses, softmax and normalization, for networks. They
// are shared out among the threads in blocks of columns.
#pragma once
#include <algorithm>

#include "backend.hpp"
#include "copies.hpp"

namespace preheat {

template <class T, class Kernels>
T cpu<T, Kernels>::softmax_cross_entropy(view<const T> z, view<const T> labels, view<T> d) {
  require(labels.rows() == 1, "labels are one row", labels.rows(), 1);
  require(labels.cols() == z.cols(), "one label per column", labels.cols(), z.cols());
  require_same_shape("softmax_cross_entropy", z, d);
  const T weight = T(1) / T(z.cols());
  const auto label_of = [&](index_t j) { return labels.data()[j * labels.ld()]; };
  for (index_t j = 0; j < z.cols(); ++j) {
    const T given = label_of(j);
    require(0 <= given && given < T(z.rows()), "0 <= label < classes", given, z.rows());
    require(T(index_t(given)) == given, "a label is a whole number", given, index_t(given));
  }
  constexpr index_t most = 128;  // columns whose losses wait to be added up in their order
  T losses[most];
  T loss = 0;
  for (index_t begin = 0; begin < z.cols(); begin += most) {
    const index_t n = std::min(most, z.cols() - begin);
    in_columns(d.col_range(begin, n), [&](index_t first, index_t count) {
      for (index_t i = first; i < first + count; ++i) {
        const view<T> column = d.col_range(begin + i, 1);
        copy_columns(z.col_range(begin + i, 1), column);
        T& own = column.data()[index_t(label_of(begin + i))];
        const T score = own;
        operations::softmax(columns(column), &losses[i]);
        losses[i] -= score;
        operations::scale_cols(&weight, columns(column));
        own -= weight;
      }
    });
    for (index_t i = 0; i < n; ++i) {
      loss += weight * losses[i];
    }
  }
  return loss;
}
template <class T, class Kernels>
void cpu<T, Kernels>::softmax_cols(view<T> x) {
  if (x.empty()) {
    return;
  }
  in_columns(x, [&](index_t first, index_t count) {
    operations::softmax(columns(x.col_range(first, count)), nullptr);
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::softmax_cols_gradient(view<const T> p, view<T> d) {
  require_same_shape("softmax_cols_gradient", p, d);
  in_columns(d, [&](index_t first, index_t count) {
    operations::softmax_gradient(columns(p.col_range(first, count)),
                                 columns(d.col_range(first, count)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x,
                                 view<T> r, view<T> y) {
  require_layer_norm_shapes<T>("layer_norm", gamma, x, y, r);
  require_layer_norm_shapes<T>("layer_norm", beta, x, y, r);
  in_columns(x, [&](index_t first, index_t count) {
    operations::layer_norm(epsilon, gamma.data(), beta.data(), columns(x.col_range(first, count)),
                           r.data() + first, columns(y.col_range(first, count)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r,
                                          view<T> d) {
  require_layer_norm_shapes<T>("layer_norm_gradient", gamma, x, d, r);
  in_columns(d, [&](index_t first, index_t count) {
    operations::layer_norm_gradient(gamma.data(), columns(x.col_range(first, count)),
                                    r.data() + first, columns(d.col_range(first, count)));
  });
}

template <class T, class Kernels>
void cpu<T, Kernels>::softmax_cols_causal(index_t shift, index_t window, view<T> x) {
  require_causal_shape("softmax_cols_causal", shift, window, x);
  in_columns(x, [&](index_t first, index_t count) {
    operations::softmax_causal(shift + first, window, columns(x.col_range(first, count)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::rms_norm(T epsilon, view<const T> gamma, view<const T> x, view<T> r,
                               view<T> y) {
  require_layer_norm_shapes<T>("rms_norm", gamma, x, y, r);
  in_columns(y, [&](index_t first, index_t count) {
    operations::rms_norm(epsilon, gamma.data(), columns(x.col_range(first, count)),
                         r.data() + first, columns(y.col_range(first, count)));
  });
}
template <class T, class Kernels>
void cpu<T, Kernels>::rms_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r,
                                        view<const T> d, view<T> dx) {
  require_layer_norm_shapes<T>("rms_norm_gradient", gamma, x, d, r);
  require_same_shape("rms_norm_gradient", x, dx);
  in_columns(dx, [&](index_t first, index_t count) {
    operations::rms_norm_gradient(gamma.data(), columns(x.col_range(first, count)),
                                  r.data() + first, columns(d.col_range(first, count)),
                                  columns(dx.col_range(first, count)));
  });
}

}  // namespace preheat
