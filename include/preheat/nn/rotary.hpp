// Rotary positions (Su et al., arXiv 2104.09864), in the form of Llama: the two halves of a head's
// features turn together, feature i and feature i + d/2 by the angle p·f_i at position p.
//
//   (x_i, x_{i+d/2}) becomes (x_i·cos − x_{i+d/2}·sin, x_{i+d/2}·cos + x_i·sin)
//   f_i = θ^(−2i/d), slowed down by the config's scaling:
//     linear   f/factor
//     llama3   f where a turn takes fewer than original/high positions, f/factor where it takes more
//              than original/low, and a mixture of both between (transformers' "llama3")
//   and divided by the config's divisors, if it has any.
//
// The gradient turns back, by the negative angle. Angles are computed in double; cos and sin are
// tables of d/2 × positions. Cost: one pass over X; a call for every head of every sequence, or one where the
// backend turns all heads at once.
#pragma once
#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "attention_span.hpp"
#include "decoder_backend.hpp"
#include "decoder_config.hpp"

namespace preheat::nn {

inline std::vector<double> rotary_frequencies(const rotary_config& r, index_t head_size) {
  std::vector<double> f(std::size_t(head_size / 2));
  for (std::size_t i = 0; i < f.size(); ++i) {
    f[i] = std::pow(r.theta, -2.0 * double(i) / double(head_size));
    if (r.scaling == rotary_scaling::linear) {
      f[i] /= r.factor;
    } else if (r.scaling == rotary_scaling::llama3) {
      const double turns = r.original_positions * f[i] / (2 * std::numbers::pi);
      const double low = r.low_frequency_factor;
      const double high = r.high_frequency_factor;
      const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      f[i] *= kept + (1 - kept) / r.factor;
    }
    if (!r.divisors.empty()) {
      f[i] /= r.divisors[i];
    }
  }
  return f;
}

// (x, y) becomes (x·c − y·s, y·c + x·s).
template <class T>
struct rotation_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, V& y, const V& c, const V& s) const {
    const V turned = x * c - y * s;
    y = y * c + x * s;
    x = turned;
  }
};
template <class T>
struct back_rotation_kernel {
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, V& y, const V& c, const V& s) const {
    const V turned = x * c + y * s;
    y = y * c - x * s;
    x = turned;
  }
};

template <backend Be>
class rotary {
 public:
  using T = scalar_of<Be>;

  rotary(const rotary_config& config, index_t head_size)
      : frequencies_(rotary_frequencies(config, head_size)) {}

  // Makes the tables long enough; they grow to a multiple of 256 positions.
  void prepare(Be& be, index_t positions) {
    if (positions <= cos_.cols()) {
      return;
    }
    constexpr index_t unit = 256;
    const index_t n = (positions + unit - 1) / unit * unit;
    const index_t half = index_t(frequencies_.size());
    std::vector<T> cosines;
    std::vector<T> sines;
    for (index_t p = 0; p < n; ++p) {
      for (const double f : frequencies_) {
        cosines.push_back(T(std::cos(double(p) * f)));
        sines.push_back(T(std::sin(double(p) * f)));
      }
    }
    cos_ = be.zeros(half, n);
    sin_ = be.zeros(half, n);
    be.upload(cosines, cos_);
    be.upload(sines, sin_);
  }

  // A pass over these sequences follows: the tables are made long enough.
  void prepare(Be& be, std::span<const attention_span> sequences) {
    for (const attention_span& s : sequences) {
      prepare(be, s.keys);
    }
    if constexpr (turns_heads<Be>) {
      if (!std::equal(sequences.begin(), sequences.end(), prepared_.begin(), prepared_.end())) {
        prepared_.assign(sequences.begin(), sequences.end());
        take_angles(be, cos_, cos_of_token_);
        take_angles(be, sin_, sin_of_token_);
      }
    }
  }
  // Turns every head of X, whose columns are the queries of these sequences, for which prepare() was called.
  void forward(Be& be, activation_view<Be> X, std::span<const attention_span> sequences) const {
    if constexpr (turns_heads<Be>) {
      be.turn_heads(1, cos_of_token_, sin_of_token_, X);
    } else {
      for (const attention_span& s : sequences) {
        forward(be, X.col_range(s.first_query, s.queries), s.past());
      }
    }
  }
  void backward(Be& be, activation_view<Be> dX, std::span<const attention_span> sequences) const {
    if constexpr (turns_heads<Be>) {
      be.turn_heads(-1, cos_of_token_, sin_of_token_, dX);
    } else {
      for (const attention_span& s : sequences) {
        backward(be, dX.col_range(s.first_query, s.queries), s.past());
      }
    }
  }
  // The same for columns at the positions first, first + 1, …; prepare() was called.
  void forward(Be& be, activation_view<Be> X, index_t first) const {
    turn(be, rotation_kernel<T>{}, X, first);
  }
  void backward(Be& be, activation_view<Be> dX, index_t first) const {
    turn(be, back_rotation_kernel<T>{}, dX, first);
  }

 private:
  template <class Kernel>
  void turn(Be& be, Kernel kernel, activation_view<Be> X, index_t first) const {
    const index_t half = cos_.rows();
    const const_view_of<Be> c = view(cos_).col_range(first, X.cols());
    const const_view_of<Be> s = view(sin_).col_range(first, X.cols());
    for (index_t row = 0; row < X.rows(); row += 2 * half) {
      be.apply(kernel, X.row_range(row, half), X.row_range(row + half, half), c, s);
    }
  }

  void take_angles(Be& be, const mat<Be>& table, mat<Be>& of_token) {
    index_t tokens = 0;
    for (const attention_span& s : prepared_) {
      tokens = std::max(tokens, s.first_query + s.queries);
    }
    be.resize(of_token, table.rows(), tokens);
    for (const attention_span& s : prepared_) {
      be.copy(transpose::no, view(table).col_range(s.past(), s.queries),
              view(of_token).col_range(s.first_query, s.queries));
    }
  }

  std::vector<double> frequencies_;
  mat<Be> cos_;
  mat<Be> sin_;
  // Columns of these tables for the tokens of the pass; unused where heads are turned one by one.
  std::vector<attention_span> prepared_;
  mat<Be> cos_of_token_;
  mat<Be> sin_of_token_;
};

}  // namespace preheat::nn
