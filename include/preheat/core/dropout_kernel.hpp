// Dropout with the counter generator: the mask of an entry is a function of (stream, position), so
// backward computes it again instead of storing it, and copies of any order and shape agree.
#pragma once
#include "random.hpp"

namespace preheat {

// x = y with each entry zeroed with probability `rate`, the others divided by 1 − rate. The first
// entry is number `first` of the stream.
template <class T>
struct dropout_kernel {
  double rate;
  generator gen;
  index_t first = 0;
  constexpr void operator()(index_t i, T& x, const T& y) const {
    const bool keep = gen.uniforms(std::uint64_t(first + i))[0] >= rate;
    x = keep ? T(double(y) / (1 - rate)) : T(0);
  }
};
// x += the same mask applied to y
template <class T>
struct add_dropout_kernel {
  dropout_kernel<T> mask;
  constexpr void operator()(index_t i, T& x, const T& y) const {
    T masked{};
    mask(i, masked, y);
    x += masked;
  }
};

}  // namespace preheat
