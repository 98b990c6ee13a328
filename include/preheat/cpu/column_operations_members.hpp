// The definitions of column_operations, in packets of one instruction set.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "column_operations.hpp"
#include "packet.hpp"

namespace preheat {

// One column, in packets from i = 0 in steps of their size; the last one may have fewer numbers.
template <class T, class Isa>
struct packed_column {
  using V = packet<std::remove_const_t<T>, Isa>;
  T* data;
  index_t length;

  packed_column(T* first, index_t count) : data(first), length(count) {}
  // Column j of several.
  packed_column(columns_of<T> all, index_t j) : data(all.data + j * all.step), length(all.length) {}

  // Past the end of the column, a packet holds `rest`.
  [[gnu::always_inline]] V load(index_t i, std::remove_const_t<T> rest = 0) const {
    const index_t left = length - i;
    return left >= V::size ? V::load(data + i) : V::load(data + i, left, rest);
  }
  [[gnu::always_inline]] void store(index_t i, V value) const {
    const index_t left = length - i;
    if (left >= V::size) {
      value.store(data + i);
    } else {
      value.store(data + i, left);
    }
  }
};

// ------------------------------------------------------------------- vectors against matrices

template <class T, class Isa>
void column_operations<T, Isa>::fill(T value, columns_of<T> x) {
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, value);
    }
  }
}
template <class T, class Isa>
void column_operations<T, Isa>::scale_rows(const T* d, columns_of<T> x) {
  const constant_column D(d, x.length);
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, D.load(i) * X.load(i));
    }
  }
}
template <class T, class Isa>
void column_operations<T, Isa>::scale_cols(const T* d, columns_of<T> x) {
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    const V factor = d[j];
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, factor * X.load(i));
    }
  }
}
template <class T, class Isa>
void column_operations<T, Isa>::add_to_cols(const T* b, columns_of<T> x) {
  const constant_column B(b, x.length);
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, X.load(i) + B.load(i));
    }
  }
}
template <class T, class Isa>
void column_operations<T, Isa>::add_row_sums(T s, columns_of<const T> a, T* x) {
  const column X(x, a.length);
  for (index_t j = 0; j < a.count; ++j) {
    const constant_column A(a, j);
    for (index_t i = 0; i < a.length; i += V::size) {
      X.store(i, X.load(i) + V(s) * A.load(i));
    }
  }
}
template <class T, class Isa>
void column_operations<T, Isa>::add_row_dots(T s, columns_of<const T> a, columns_of<const T> b,
                                             T* x) {
  const column X(x, a.length);
  for (index_t j = 0; j < a.count; ++j) {
    const constant_column A(a, j);
    const constant_column B(b, j);
    for (index_t i = 0; i < a.length; i += V::size) {
      X.store(i, X.load(i) + V(s) * (A.load(i) * B.load(i)));
    }
  }
}

// ---------------------------------------------------------------------------------- reductions

template <class T, class Isa>
T column_operations<T, Isa>::dot(columns_of<const T> a, columns_of<const T> b) {
  V even = T(0);  // two sums: an addition takes longer than to read a packet from cache
  V odd = T(0);
  for (index_t j = 0; j < a.count; ++j) {
    const constant_column A(a, j);
    const constant_column B(b, j);
    index_t i = 0;
    for (; i + 2 * V::size <= a.length; i += 2 * V::size) {
      even += A.load(i) * B.load(i);
      odd += A.load(i + V::size) * B.load(i + V::size);
    }
    for (; i < a.length; i += V::size) {
      even += A.load(i) * B.load(i);
    }
  }
  return (even + odd).sum();
}
template <class T, class Isa>
T column_operations<T, Isa>::max_abs(columns_of<const T> a) {
  V tops = T(0);
  for (index_t j = 0; j < a.count; ++j) {
    const constant_column A(a, j);
    for (index_t i = 0; i < a.length; i += V::size) {
      tops = max(tops, max(A.load(i), -A.load(i)));
    }
  }
  return tops.largest();
}

// ----------------------------------------------------------------- softmax, layer normalization

// x = softmax(x)
template <class T, class Isa>
void column_operations<T, Isa>::softmax(columns_of<T> x, T* log_sums) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    V tops = lowest;
    for (index_t i = 0; i < x.length; i += V::size) {
      tops = max(tops, X.load(i, lowest));
    }
    const T top = tops.largest();
    V sums = T(0);
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, exp(X.load(i) - V(top)));
      sums += X.load(i);
    }
    const T sum = sums.sum();
    const V factor = T(1) / sum;
    for (index_t i = 0; i < x.length; i += V::size) {
      X.store(i, factor * X.load(i));
    }
    if (log_sums != nullptr) {
      log_sums[j] = std::log(sum) + top;
    }
  }
}

// d = p·(d − pᵀ·d)
template <class T, class Isa>
void column_operations<T, Isa>::softmax_gradient(columns_of<const T> p, columns_of<T> d) {
  for (index_t j = 0; j < d.count; ++j) {
    const constant_column P(p, j);
    const column D(d, j);
    V products = T(0);
    for (index_t i = 0; i < d.length; i += V::size) {
      products += P.load(i) * D.load(i);
    }
    const V mean = products.sum();
    for (index_t i = 0; i < d.length; i += V::size) {
      D.store(i, P.load(i) * (D.load(i) - mean));
    }
  }
}

// Of column j only the rows above j + shift − window, up to j + shift: x = softmax(x) there, else 0.
template <class T, class Isa>
void column_operations<T, Isa>::softmax_causal(index_t shift, index_t window, columns_of<T> x) {
  for (index_t j = 0; j < x.count; ++j) {
    T* const data = x.data + j * x.step;
    const index_t end = j + shift + 1;
    const index_t begin = std::max<index_t>(end - window, 0);
    fill(T(0), {data, begin, 1, x.step});
    softmax({data + begin, end - begin, 1, x.step}, nullptr);
    fill(T(0), {data + end, x.length - end, 1, x.step});
  }
}
// x = (x − mean)·r, r = 1/√(variance + ε), y = γ·x + β
template <class T, class Isa>
void column_operations<T, Isa>::layer_norm(T epsilon, const T* gamma, const T* beta,
                                           columns_of<T> x, T* r, columns_of<T> y) {
  const constant_column G(gamma, x.length);
  const constant_column B(beta, x.length);
  for (index_t j = 0; j < x.count; ++j) {
    const column X(x, j);
    const column Y(y, j);
    V sums = T(0);
    for (index_t i = 0; i < x.length; i += V::size) {
      sums += X.load(i);
    }
    const T mean = sums.sum() / T(x.length);
    V squares = T(0);
    for (index_t i = 0; i < x.length; i += V::size) {
      const V centred = X.load(i, mean) - V(mean);
      squares += centred * centred;
      X.store(i, centred);
    }
    r[j] = T(1) / std::sqrt(squares.sum() / T(x.length) + epsilon);
    for (index_t i = 0; i < x.length; i += V::size) {
      const V normal = V(r[j]) * X.load(i);
      X.store(i, normal);
      Y.store(i, G.load(i) * normal + B.load(i));
    }
  }
}

// d = r·(g − mean(g) − x·mean(g·x)), g = γ·d
template <class T, class Isa>
void column_operations<T, Isa>::layer_norm_gradient(const T* gamma, columns_of<const T> x,
                                                    const T* r, columns_of<T> d) {
  const constant_column G(gamma, x.length);
  for (index_t j = 0; j < d.count; ++j) {
    const constant_column X(x, j);
    const column D(d, j);
    V sums = T(0);
    V products = T(0);
    for (index_t i = 0; i < d.length; i += V::size) {
      const V g = G.load(i) * D.load(i);
      sums += g;
      products += g * X.load(i);
      D.store(i, g);
    }
    const V mean = sums.sum() / T(d.length);
    const V slope = products.sum() / T(d.length);
    for (index_t i = 0; i < d.length; i += V::size) {
      D.store(i, V(r[j]) * (D.load(i) - mean - X.load(i) * slope));
    }
  }
}

// r = 1/√(mean(x²) + ε), y = γ·r·x
template <class T, class Isa>
void column_operations<T, Isa>::rms_norm(T epsilon, const T* gamma, columns_of<const T> x, T* r,
                                         columns_of<T> y) {
  const constant_column G(gamma, x.length);
  for (index_t j = 0; j < x.count; ++j) {
    const constant_column X(x, j);
    const column Y(y, j);
    V squares = T(0);
    for (index_t i = 0; i < x.length; i += V::size) {
      squares += X.load(i) * X.load(i);
    }
    r[j] = T(1) / std::sqrt(squares.sum() / T(x.length) + epsilon);
    for (index_t i = 0; i < x.length; i += V::size) {
      Y.store(i, G.load(i) * (V(r[j]) * X.load(i)));
    }
  }
}
// dx = dx + r·(g − x·r²·mean(g·x)), g = γ·d
template <class T, class Isa>
void column_operations<T, Isa>::rms_norm_gradient(const T* gamma, columns_of<const T> x, const T* r,
                                                  columns_of<const T> d, columns_of<T> dx) {
  const constant_column G(gamma, x.length);
  for (index_t j = 0; j < d.count; ++j) {
    const constant_column X(x, j);
    const constant_column D(d, j);
    const column to(dx, j);
    V products = T(0);
    for (index_t i = 0; i < d.length; i += V::size) {
      products += G.load(i) * D.load(i) * X.load(i);
    }
    const V slope = r[j] * r[j] * (products.sum() / T(d.length));
    for (index_t i = 0; i < d.length; i += V::size) {
      to.store(i, to.load(i) + V(r[j]) * (G.load(i) * D.load(i) - X.load(i) * slope));
    }
  }
}

}  // namespace preheat
