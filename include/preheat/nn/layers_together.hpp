// Linear layers that read one input (q, k and v; gate and up), for networks: an operator may compute them together
// (operators/joined_layers.hpp), and then their outputs, and the gradients of these, lie one below the other.
#pragma once
#include <concepts>

#include "../core/backend.hpp"

namespace preheat::nn {

template <class Linear>
concept joins_layers = requires(const Linear& linear, index_t layer, index_t count) {
  { linear.joins(layer, count) } -> std::same_as<bool>;
};

// Whether `count` layers from `first` on are computed together in this pass.
template <class Linear>
bool together(const Linear& linear, index_t first, index_t count) {
  if constexpr (joins_layers<Linear>) {
    return linear.joins(first, count);
  } else {
    return count == 1;
  }
}

// Their outputs; count is 1, or together() holds.
template <backend Be, class Linear>
view_of<Be> forward_together(Linear& linear, index_t first, [[maybe_unused]] index_t count,
                             const_view_of<Be> X) {
  if constexpr (joins_layers<Linear>) {
    if (count > 1) {
      return linear.forward_joined(first, count, X);
    }
  }
  return linear.forward(first, X);
}
// The gradient of X, empty unless `below`. make(dX) writes X if it was not kept; what it does with dX, if that is not
// empty, the caller need not do afterwards.
template <backend Be, class Linear, class Make>
view_of<Be> backward_together(Linear& linear, index_t first, [[maybe_unused]] index_t count,
                              const_view_of<Be> X, const_view_of<Be> d, bool below, Make&& make) {
  if constexpr (joins_layers<Linear>) {
    if (linear.joins(first, count)) {
      return linear.backward_joined(first, count, X, d, below, make);
    }
  }
  make(view_of<Be>());
  return linear.backward(first, X, d, below);
}

}  // namespace preheat::nn
