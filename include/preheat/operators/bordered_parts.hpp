// What can be a part of the matrix of a group of layers (bordered_group.hpp), and how it gets there.
#pragma once
#include <concepts>
#include <memory>

#include "../core/backend.hpp"
#include "../core/frozen_weight.hpp"

namespace preheat {

// mat<Be>(whole, i, j, rows, cols) is the part of a matrix from entry (i, j) on.
template <class Be>
concept joins_matrices = backend<Be> &&
    std::constructible_from<mat<Be>, std::shared_ptr<mat<Be>>, index_t, index_t, index_t, index_t>;

// Whether W can be a part of M.
template <class Be>
bool joins_weight(const weight_of<Be>& W) {
  if constexpr (rounds_activations<Be>) {
    return W.is_stored();
  } else {
    return !is_stored<Be>(W);
  }
}

// Whether W is unpacked into M before each pass, instead of being a part of it.
template <class Be>
bool is_unpacked([[maybe_unused]] const weight_of<Be>& W) {
  if constexpr (rounds_activations<Be>) {
    return W.is_stored() && W.stored().entries().cols() == 0;
  } else {
    return false;
  }
}

// x = s·y
template <class T>
struct scaled_copy {
  T s;
  template <class V>
  constexpr void operator()(V& x, const V& y) const {
    x = s * y;
  }
};

}  // namespace preheat
