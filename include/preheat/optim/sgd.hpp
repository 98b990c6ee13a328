// Stochastic gradient descent as torch.optim.SGD defines it:
//
//   g ← g + λ·p;   u ← μ·u + (1 − d)·g  (u = g at the first step);   g ← g + μ·u (Nesterov) or u
//   p ← p − lr·g
//
// Momentum μ, dampening d, weight decay λ. Without momentum there is no state. Cost: one pass over
// memory per step.
#pragma once
#include "../core/concepts.hpp"

namespace preheat::optim {

template <class T>
struct sgd_kernel {
  T rate, decay;
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& p, const V& g) const {
    p -= rate * (g + decay * p);
  }
};
template <class T>
struct momentum_kernel {
  T rate, decay, momentum, keep;  // keep: 1 − dampening, or 1 at the first step
  bool first, nesterov;
  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& p, V& u, const V& gradient) const {
    const V g = gradient + decay * p;
    u = first ? g : V(momentum * u + keep * g);
    p -= rate * (nesterov ? V(g + momentum * u) : u);
  }
};

struct sgd {
  using axis = axes::optim;

  double lr = 1e-2;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;

  template <class Be, class P>
  struct state {
    P velocity;
    index_t t = 0;
    template <class F>
    void for_each_moment(F f) {
      f(velocity);
    }
    template <class Archive>
    void archive(Archive& ar) {
      ar("t", t);
      ar("velocity", velocity);
    }
  };

  template <backend Be, class P>
  [[gnu::cold]] state<Be, P> start(Be& be, const P& p) const {
    require(lr >= 0, "learning rate >= 0", lr, 0.0);
    require(momentum >= 0, "momentum >= 0", momentum, 0.0);
    require(weight_decay >= 0, "weight decay >= 0", weight_decay, 0.0);
    require(!nesterov || (momentum > 0 && dampening == 0),
            "Nesterov momentum needs momentum > 0 and dampening = 0", momentum, dampening);
    return {momentum != 0 ? zeros_like(be, p) : P{}, 0};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    using T = scalar_of<Be>;
    const bool first = st.t++ == 0;
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& g, mat<Be>& u) {
          const T rate = T(context.rate(parameter.role));
          const T decay = T(weight_decay * context.decay(parameter.role));
          if (momentum == 0) {
            be.apply(sgd_kernel<T>{rate, decay}, x, g);
          } else {
            be.apply(
                momentum_kernel<T>{rate, decay, T(momentum), T(1 - dampening), first, nesterov}, x,
                u, g);
          }
        },
        p, gradient, st.velocity);
  }
};

}  // namespace preheat::optim
