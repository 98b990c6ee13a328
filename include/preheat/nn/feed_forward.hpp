// The MLP of a decoder's block, through the network's linear operator:
//
//   gated      D = down·(act(gate·X) ⊙ up·X)      Llama (SwiGLU with act = silu)
//   plain      D = down·act(up·X)                 GPT-2
//
// X is hidden × tokens. Backward stops at the lowest layer that is trained.
#pragma once
#include "activation.hpp"
#include "decoder_backend.hpp"
#include "layers_together.hpp"
#include "sums.hpp"

namespace preheat::nn {

template <decoder_backend Be>
class feed_forward {
 public:
  using T = scalar_of<Be>;
  struct scratch {
    activations<Be> d_gate;
    activations<Be> H;
  };

  feed_forward(bool gated, activation_kind activation) : gated_(gated), activation_(activation) {}

  // The number of the first of its two or three linear layers in the network.
  void set_first_layer(index_t first) {
    gate_ = first;
    up_ = first + (gated_ ? 1 : 0);
  }

  index_t first_layer() const { return gate_; }

  // The room that its layers can use below X, and below d (nn/layers_together.hpp).
  template <class Linear>
  index_t input_room(Linear& linear) const {
    return gated_ ? border<activation_of<Be>>(linear, gate_, 2) : 0;
  }
  template <class Linear>
  index_t output_room(Linear& linear) const {
    return border<activation_of<Be>>(linear, down(), 1);
  }

  // The result is in a buffer of the operator. H = act(…) is kept for backward, or made again there if
  // `place` is not null: there it is now. X has its room below it.
  template <class Linear>
  activation_view<Be> forward(Be& be, const_activation_view<Be> X, Linear& linear,
                              activations<Be>* place) {
    if (gated_ && together<activation_of<Be>>(linear, gate_, 2)) {
      const activation_view<Be> both =
          forward_together<activation_of<Be>>(linear, gate_, 2, X, input_room(linear));
      Z_ = both.row_range(0, both.rows() / 2);
      U_ = both.row_range(Z_.rows(), Z_.rows());
    } else {
      if (gated_) {
        Z_ = linear.forward(gate_, X);
      }
      U_ = linear.forward(up_, X);
    }
    activations<Be>& H = place != nullptr ? *place : H_;
    room_ = output_room(linear);
    activate(be, H);
    return forward_together<activation_of<Be>>(linear, down(), 1, seen(H), room_);
  }

  // d is ∂/∂D, with `room` below; returns ∂/∂X, empty unless a layer below the MLP is trained. make(dX) is that of
  // backward_together.
  template <class Linear, class Make>
  activation_view<Be> backward(Be& be, const_activation_view<Be> X, const_activation_view<Be> d,
                               Linear& linear, scratch& s, index_t room, activations<Be>* place,
                               Make&& make) {
    const index_t lowest = linear.first_trained();
    activations<Be>& H = place != nullptr ? *place : H_;
    if (place != nullptr) {
      be.resize(H, U_.rows() + room_, U_.cols());
    }
    const bool both = gated_ && together<activation_of<Be>>(linear, gate_, 2);
    bool done = false;  // what follows for gate and up
    const activation_view<Be> dH = backward_together<activation_of<Be>>(
        linear, down(), 1, seen(H), d, lowest < down(),
        [&](activation_view<Be> gradient) {
          done = place != nullptr && both && gradient.cols() > 0;
          if (done) {
            gradients_and_activation(be, gradient, seen(H), s, input_room(linear));
          } else if (place != nullptr) {
            activate(be, H);
          }
        },
        room);
    if (lowest >= down()) {
      return {};
    }
    if (both) {
      if (!done) {
        gradients_of_both(be, dH, s, input_room(linear));
      }
      return backward_together<activation_of<Be>>(linear, gate_, 2, X,
                                                  view(s.d_gate).row_range(0, 2 * dH.rows()),
                                                  lowest < gate_, make, input_room(linear));
    }
    make(activation_view<Be>());
    if (gated_) {
      be.resize(s.d_gate, dH.rows(), dH.cols());
    }
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      if (gated_) {
        be.apply(gate_gradient_kernel<Activation>{}, dH, s.d_gate, const_activation_view<Be>(Z_),
                 const_activation_view<Be>(U_));
      } else {
        be.apply(activation_gradient_kernel<Activation>{}, dH, const_activation_view<Be>(U_));
      }
    });
    const bool below = lowest < gate_;
    const activation_view<Be> through_up = linear.backward(up_, X, dH, below);
    if (!gated_ || lowest > gate_) {
      return through_up;
    }
    const activation_view<Be> through_gate = linear.backward(gate_, X, s.d_gate, below);
    if (below) {
      be.apply(add_kernel<T>{}, through_up, const_activation_view<Be>(through_gate));
    }
    return through_up;
  }

 private:
  index_t down() const { return up_ + 1; }
  // The gradients of gate and up, one below the other.
  void gradients_of_both(Be& be, const_activation_view<Be> dH, scratch& s, index_t room) {
    const index_t rows = dH.rows();
    be.resize(s.d_gate, 2 * rows + room, dH.cols());
    const activation_view<Be> d(s.d_gate);
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      be.apply(split_gate_gradient_kernel<Activation>{}, d.row_range(rows, rows),
               d.row_range(0, rows), dH, const_activation_view<Be>(Z_),
               const_activation_view<Be>(U_));
    });
  }
  // The same, and H.
  void gradients_and_activation(Be& be, const_activation_view<Be> dH, activation_view<Be> H,
                                scratch& s, index_t room) {
    const index_t rows = dH.rows();
    be.resize(s.d_gate, 2 * rows + room, dH.cols());
    const activation_view<Be> d(s.d_gate);
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      be.apply(gate_again_kernel<Activation>{}, d.row_range(rows, rows), d.row_range(0, rows), H,
               dH, const_activation_view<Be>(Z_), const_activation_view<Be>(U_));
    });
  }
  activation_view<Be> seen(activations<Be>& H) const { return view(H).row_range(0, U_.rows()); }
  void activate(Be& be, activations<Be>& whole) {
    be.resize(whole, U_.rows() + room_, U_.cols());
    const activation_view<Be> H = seen(whole);
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      if (gated_) {
        be.apply(gate_kernel<Activation>{}, H, const_activation_view<Be>(Z_),
                 const_activation_view<Be>(U_));
      } else {
        be.apply(activation_kernel<Activation>{}, H, const_activation_view<Be>(U_));
      }
    });
  }

  index_t room_ = 0;  // below H
  index_t gate_ = 0;  // up_, if there is no gate
  index_t up_ = 0;
  bool gated_;
  activation_kind activation_;
  activation_view<Be> Z_;  // in buffers of the operator
  activation_view<Be> U_;
  activations<Be> H_;
};

}  // namespace preheat::nn
