// Linear layers that read one input (q, k and v; gate and up), for networks: an operator may compute them together
// (operators/joined_layers.hpp), and then their outputs, and the gradients of these, lie one below the other.
#pragma once
#include <concepts>

#include "../core/backend.hpp"

namespace preheat::nn {

// X is the type of the layers' inputs and outputs. `room` is how many rows below an input, or below the gradient of
// the outputs, the operator may write: with border(layer, count) of them or more it may save a pass over its results.
template <class Linear, class X>
concept joins_layers = requires(Linear& linear, index_t layer, index_t count, view<const X> input,
                                index_t room) {
  { linear.joins(layer, count) } -> std::same_as<bool>;
  { linear.border(layer, count) } -> std::same_as<index_t>;
  { linear.forward_joined(layer, count, input, room) } -> std::same_as<view<X>>;
};

// The room that these layers can use; 0 if they do not compute together.
template <class X, class Linear>
index_t border(Linear& linear, index_t first, index_t count) {
  if constexpr (joins_layers<Linear, X>) {
    return linear.joins(first, count) ? linear.border(first, count) : 0;
  } else {
    return 0;
  }
}

// Whether b has the rows below those of a in one matrix, as outputs of layers have that are computed together.
template <class X>
bool lies_below(view<X> a, view<X> b) {
  return b.data() == a.data() + a.rows() && b.ld() == a.ld() && a.rows() + b.rows() <= a.ld();
}

// Whether `count` layers from `first` on are computed together in this pass.
template <class X, class Linear>
bool together(Linear& linear, index_t first, index_t count) {
  if constexpr (joins_layers<Linear, X>) {
    return linear.joins(first, count);
  } else {
    return count == 1;
  }
}

// Their outputs; count is 1, or together() holds.
template <class X, class Linear>
view<X> forward_together(Linear& linear, index_t first, [[maybe_unused]] index_t count,
                         view<const X> input, [[maybe_unused]] index_t room = 0) {
  if constexpr (joins_layers<Linear, X>) {
    if (linear.joins(first, count)) {
      return linear.forward_joined(first, count, input, room);
    }
  }
  return linear.forward(first, input);
}
// The gradient of the input, empty unless `below`. make(gradient) writes the input if it was not kept; what it does with
// the gradient, if that is not empty, the caller need not do afterwards. `room` is below d.
template <class X, class Linear, class Make>
view<X> backward_together(Linear& linear, index_t first, [[maybe_unused]] index_t count,
                          view<const X> input, view<const X> d, bool below, Make&& make,
                          [[maybe_unused]] index_t room = 0) {
  if constexpr (joins_layers<Linear, X>) {
    if (linear.joins(first, count)) {
      return linear.backward_joined(first, count, input, d, room, below, make);
    }
  }
  make(view<X>());
  return linear.backward(first, input, d, below);
}

}  // namespace preheat::nn
