// A linear operator as it looks to a network whose activations are of another type than the scalar
// (rounds_activations). What the operator computes in that type (layers that are joined) it computes itself; for the
// other layers, and so for every policy, the input is widened to scalars, and what the operator returns is rounded:
//
//   Y = round(forward(l, widen(X))),   dX = round(backward(l, widen(X), widen(dY)))
//
// Memory: the rounded output of every layer that computes so, and the gradient of its input, where the operator's own
// outputs are; they are shared as those are (operators/layer_uses.hpp).
#pragma once
#include <vector>

#include "../core/network.hpp"
#include "layers_together.hpp"

namespace preheat::nn {

// Kept by the network from pass to pass.
template <class Be>
class rounding_buffers {
 public:
  // In the list's matrix of this number.
  activation_view<Be> round(Be& be, const_view_of<Be> Y, std::vector<activations<Be>>& list,
                            index_t number) {
    while (index_t(list.size()) <= number) {
      list.emplace_back();
    }
    activations<Be>& place = list[std::size_t(number)];
    (void)converted<activation_of<Be>>(be, Y, place);
    return place;
  }
  // The numbers of the matrices in which layer l has its output and its input's gradient.
  struct places {
    index_t output, gradient;
  };
  places places_of(index_t l) const {
    return l < index_t(shared.size()) ? shared[std::size_t(l)] : places{l, l};
  }
  void share(index_t l, index_t output, index_t gradient) {
    while (index_t(shared.size()) <= l) {
      shared.push_back({index_t(shared.size()), index_t(shared.size())});
    }
    shared[std::size_t(l)] = {output, gradient};
  }

  mat<Be> wide_X, wide_dY;
  std::vector<activations<Be>> outputs, gradients;
  std::vector<places> shared;
};

template <rounds_activations Be, class Linear>
class rounding_linear {
 public:
  using T = scalar_of<Be>;
  using X_type = activation_of<Be>;

  rounding_linear(Be& be, Linear& linear, rounding_buffers<Be>& buffers)
      : be_(be), linear_(linear), buffers_(buffers) {}

  void begin(pass_kind pass) { linear_.begin(pass); }
  index_t first_trained() const { return linear_.first_trained(); }

  activation_view<Be> forward(index_t l, const_activation_view<Be> X) {
    if constexpr (joins_layers<Linear, X_type>) {
      if (linear_.joins(l, 1)) {
        return linear_.forward_joined(l, 1, X, 0);
      }
    }
    return buffers_.round(be_, linear_.forward(l, converted<T>(be_, X, buffers_.wide_X)),
                          buffers_.outputs, buffers_.places_of(l).output);
  }
  activation_view<Be> backward(index_t l, const_activation_view<Be> X, const_activation_view<Be> dY,
                               bool need_dx) {
    if constexpr (joins_layers<Linear, X_type>) {
      if (linear_.joins(l, 1)) {
        return linear_.backward_joined(l, 1, X, dY, 0, need_dx, [](activation_view<Be>) {});
      }
    }
    const const_view_of<Be> wide_X = converted<T>(be_, X, buffers_.wide_X);
    const const_view_of<Be> wide_dY = converted<T>(be_, dY, buffers_.wide_dY);
    const view_of<Be> dX = linear_.backward(l, wide_X, wide_dY, need_dx);
    return need_dx ? buffers_.round(be_, dX, buffers_.gradients, buffers_.places_of(l).gradient)
                   : activation_view<Be>();
  }

  // --- layers that compute together
  bool joins(index_t first, index_t count) requires joins_layers<Linear, X_type> {
    return linear_.joins(first, count);
  }
  index_t border(index_t first, index_t count) requires joins_layers<Linear, X_type> {
    return linear_.border(first, count);
  }
  activation_view<Be> forward_joined(index_t first, index_t count, const_activation_view<Be> X,
                                     index_t room) requires joins_layers<Linear, X_type> {
    return linear_.forward_joined(first, count, X, room);
  }
  template <class Make>
  activation_view<Be> backward_joined(index_t first, index_t count, const_activation_view<Be> X,
                                      const_activation_view<Be> dY, index_t room, bool need_dx,
                                      Make&& make) requires joins_layers<Linear, X_type> {
    return linear_.backward_joined(first, count, X, dY, room, need_dx, make);
  }

  // --- what a network may ask for besides, if the operator has it
  void next_chunk(index_t l, index_t first, index_t columns) requires requires(Linear& linear) {
    linear.next_chunk(l, first, columns);
  }
  { linear_.next_chunk(l, first, columns); }
  void share_buffers(index_t l, index_t outputs, index_t gradient) requires
      requires(Linear& linear) {
    linear.share_buffers(l, outputs, gradient);
  }
  {
    linear_.share_buffers(l, outputs, gradient);
    buffers_.share(l, outputs, gradient);
  }
  void forget_use(index_t l) requires requires(Linear& linear) { linear.forget_use(l); }
  { linear_.forget_use(l); }
  void repeat(bool again) requires requires(Linear& linear) { linear.repeat(again); }
  { linear_.repeat(again); }

 private:
  Be& be_;
  Linear& linear_;
  rounding_buffers<Be>& buffers_;
};

// f(operator): the operator itself, or as it looks with rounded activations.
template <class Be, class Linear>
decltype(auto) with_activations([[maybe_unused]] Be& be, Linear& linear,
                                [[maybe_unused]] rounding_buffers<Be>& buffers) {
  if constexpr (rounds_activations<Be>) {
    return rounding_linear<Be, Linear>(be, linear, buffers);
  } else {
    return (linear);
  }
}

}  // namespace preheat::nn
