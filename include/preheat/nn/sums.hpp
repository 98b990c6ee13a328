// Elementwise sums of residual branches and of gradients.
#pragma once

namespace preheat::nn {

template <class T>
struct add_kernel {  // x += y
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, const V& y) const {
    x += y;
  }
};
template <class T>
struct add_two_kernel {  // x += a + b
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, const V& a, const V& b) const {
    x += a + b;
  }
};
template <class T>
struct add_three_kernel {  // x += a + b + c
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& x, const V& a, const V& b, const V& c) const {
    x += a + b + c;
  }
};

}  // namespace preheat::nn
