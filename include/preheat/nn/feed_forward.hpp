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
    mat<Be> d_gate;
    mat<Be> H;
  };

  feed_forward(bool gated, activation_kind activation) : gated_(gated), activation_(activation) {}

  // The number of the first of its two or three linear layers in the network.
  void set_first_layer(index_t first) {
    gate_ = first;
    up_ = first + (gated_ ? 1 : 0);
  }

  index_t first_layer() const { return gate_; }

  // The result is in a buffer of the operator. H = act(…) is kept for backward, or made again there if
  // `place` is not null: there it is now.
  template <class Linear>
  view_of<Be> forward(Be& be, const_view_of<Be> X, Linear& linear, mat<Be>* place) {
    if (gated_ && together(linear, gate_, 2)) {
      const view_of<Be> both = forward_together<Be>(linear, gate_, 2, X);
      Z_ = both.row_range(0, both.rows() / 2);
      U_ = both.row_range(Z_.rows(), Z_.rows());
    } else {
      if (gated_) {
        Z_ = linear.forward(gate_, X);
      }
      U_ = linear.forward(up_, X);
    }
    mat<Be>& H = place != nullptr ? *place : H_;
    activate(be, H);
    return linear.forward(down(), H);
  }

  // d is ∂/∂D; returns ∂/∂X, empty unless a layer below the MLP is trained. make(dX) is that of backward_together.
  template <class Linear, class Make>
  view_of<Be> backward(Be& be, const_view_of<Be> X, const_view_of<Be> d, Linear& linear, scratch& s,
                       mat<Be>* place, Make&& make) {
    const index_t lowest = linear.first_trained();
    mat<Be>& H = place != nullptr ? *place : H_;
    if (place != nullptr) {
      be.resize(H, U_.rows(), U_.cols());
    }
    const bool both = gated_ && together(linear, gate_, 2);
    bool done = false;  // what follows for gate and up
    const view_of<Be> dH =
        backward_together<Be>(linear, down(), 1, H, d, lowest < down(), [&](view_of<Be> gradient) {
          done = place != nullptr && both && gradient.cols() > 0;
          if (done) {
            gradients_and_activation(be, gradient, H, s);
          } else if (place != nullptr) {
            activate(be, H);
          }
        });
    if (lowest >= down()) {
      return {};
    }
    if (both) {
      if (!done) {
        gradients_of_both(be, dH, s);
      }
      return backward_together<Be>(linear, gate_, 2, X, s.d_gate, lowest < gate_, make);
    }
    make(view_of<Be>());
    if (gated_) {
      be.resize(s.d_gate, dH.rows(), dH.cols());
    }
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      if (gated_) {
        be.apply(gate_gradient_kernel<Activation>{}, dH, s.d_gate, const_view_of<Be>(Z_),
                 const_view_of<Be>(U_));
      } else {
        be.apply(activation_gradient_kernel<Activation>{}, dH, const_view_of<Be>(U_));
      }
    });
    const bool below = lowest < gate_;
    const view_of<Be> through_up = linear.backward(up_, X, dH, below);
    if (!gated_ || lowest > gate_) {
      return through_up;
    }
    const view_of<Be> through_gate = linear.backward(gate_, X, s.d_gate, below);
    if (below) {
      be.apply(add_kernel<T>{}, through_up, const_view_of<Be>(through_gate));
    }
    return through_up;
  }

 private:
  index_t down() const { return up_ + 1; }
  // The gradients of gate and up, one below the other.
  void gradients_of_both(Be& be, const_view_of<Be> dH, scratch& s) {
    const index_t rows = dH.rows();
    be.resize(s.d_gate, 2 * rows, dH.cols());
    const view_of<Be> d(s.d_gate);
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      be.apply(split_gate_gradient_kernel<Activation>{}, d.row_range(rows, rows),
               d.row_range(0, rows), dH, const_view_of<Be>(Z_), const_view_of<Be>(U_));
    });
  }
  // The same, and H.
  void gradients_and_activation(Be& be, const_view_of<Be> dH, view_of<Be> H, scratch& s) {
    const index_t rows = dH.rows();
    be.resize(s.d_gate, 2 * rows, dH.cols());
    const view_of<Be> d(s.d_gate);
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      be.apply(gate_again_kernel<Activation>{}, d.row_range(rows, rows), d.row_range(0, rows), H,
               dH, const_view_of<Be>(Z_), const_view_of<Be>(U_));
    });
  }
  void activate(Be& be, mat<Be>& H) {
    be.resize(H, U_.rows(), U_.cols());
    with_activation<T>(activation_, [&]<class Activation>(Activation) {
      if (gated_) {
        be.apply(gate_kernel<Activation>{}, H, const_view_of<Be>(Z_), const_view_of<Be>(U_));
      } else {
        be.apply(activation_kernel<Activation>{}, H, const_view_of<Be>(U_));
      }
    });
  }

  index_t gate_ = 0;  // up_, if there is no gate
  index_t up_ = 0;
  bool gated_;
  activation_kind activation_;
  view_of<Be> Z_;  // in buffers of the operator
  view_of<Be> U_;
  mat<Be> H_;
};

}  // namespace preheat::nn
