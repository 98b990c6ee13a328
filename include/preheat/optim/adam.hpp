// Adam and AdamW as torch.optim defines them (Kingma & Ba, arXiv 1412.6980; Loshchilov & Hutter,
// arXiv 1711.05101; AMSGrad: Reddi, Kale, Kumar, arXiv 1904.09237):
//
//   Adam:  g ← g + λ·p        AdamW:  p ← (1 − lr·λ)·p
//   m ← β₁·m + (1 − β₁)·g,   v ← β₂·v + (1 − β₂)·g²
//   p ← p − lr·m̂/(√v̂ + ε),   m̂ = m/(1 − β₁ᵗ),   v̂ = v/(1 − β₂ᵗ)
//
// With amsgrad, v̂ is the largest of all v so far, over 1 − β₂ᵗ. Cost: one pass over memory per step.
// State: two numbers per parameter (three with amsgrad).
#pragma once
#include <cmath>

#include "../core/concepts.hpp"
#include "../core/math.hpp"

namespace preheat::optim {

// The running means of the gradient and of its square.
template <class T>
struct moment_update {
  T beta1, beta2;
  template <class V>
  constexpr void operator()(V& m, V& v, const V& g) const {
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
  }
};

template <class T>
struct adam_kernel {
  moment_update<T> update_moments;
  T epsilon;
  T rate;        // lr/(1 − β₁ᵗ)
  T correction;  // 1/(1 − β₂ᵗ)
  T keep;        // 1 − lr·λ for AdamW, 1 for Adam
  T decay;       // λ for Adam, 0 for AdamW

  static constexpr bool any_value = true;
  static constexpr bool in_kernels = true;
  template <class V>
  constexpr void operator()(V& p, V& m, V& v, const V& gradient) const {
    const V g = gradient + decay * p;
    update_moments(m, v, g);
    move(p, m, v);
  }
  template <class V>
  constexpr void operator()(V& p, V& m, V& v, V& largest, const V& gradient) const {
    using math::max;
    const V g = gradient + decay * p;
    update_moments(m, v, g);
    largest = max(largest, v);
    move(p, m, largest);
  }

 private:
  template <class V>
  constexpr void move(V& p, const V& m, const V& v) const {
    using math::sqrt;
    p = keep * p - rate * m / (sqrt(v * correction) + epsilon);
  }
};

// Adam's running means, of gradients in the shape of P (the parameters of a layer, or one matrix), and
// the number of steps taken.
template <class P>
struct adam_state {
  P m;
  P v;
  index_t t = 0;
  template <class F>
  void for_each_moment(F f) {
    f(m);
    f(v);
  }
  template <class Archive>
  void archive(Archive& ar) {
    ar("t", t);
    ar("m", m);
    ar("v", v);
  }
};

// What every optimizer with Adam's moments requires of its settings.
template <class Optim>
void require_adam_settings(const Optim& o) {
  require(o.lr >= 0, "learning rate >= 0", o.lr, 0.0);
  require(0 <= o.beta1 && o.beta1 < 1 && 0 <= o.beta2 && o.beta2 < 1, "0 <= beta1, beta2 < 1",
          o.beta1, o.beta2);
  require(o.epsilon >= 0, "epsilon >= 0", o.epsilon, 0.0);
  require(o.weight_decay >= 0, "weight decay >= 0", o.weight_decay, 0.0);
}

// Decoupled: AdamW's weight decay. The two aliases below are what users name.
template <bool Decoupled>
struct adam_family {
  using axis = axes::optim;

  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = Decoupled ? 0.01 : 0;
  bool amsgrad = false;

  template <class Be, class P>
  struct state : adam_state<P> {
    P largest;  // empty without amsgrad
    template <class F>
    void for_each_moment(F f) {
      adam_state<P>::for_each_moment(f);
      f(largest);
    }
    template <class Archive>
    void archive(Archive& ar) {
      adam_state<P>::archive(ar);
      ar("largest", largest);
    }
  };

  template <backend Be, class P>
  [[gnu::cold]] state<Be, P> start(Be& be, const P& p) const {
    require_adam_settings(*this);
    return {{zeros_like(be, p), zeros_like(be, p)}, amsgrad ? zeros_like(be, p) : P{}};
  }

  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, const step_context& context) const {
    ++st.t;
    for_each_trained(
        [&](auto parameter, mat<Be>& x, mat<Be>& g, mat<Be>& m, mat<Be>& v, mat<Be>& largest) {
          step_matrix(be, x, g, {m, v, st.t}, largest, context, parameter.role);
        },
        p, gradient, st.m, st.v, st.largest);
  }

  // The step of one matrix x of the parameters.
  template <backend Be>
  void step_matrix(Be& be, view_of<Be> x, view_of<Be> gradient, adam_state<view_of<Be>> moments,
                   view_of<Be> largest, const step_context& context, parameter_role role) const;

 private:
  template <class T>
  adam_kernel<T> kernel(const step_context& context, parameter_role kind, index_t t) const {
    const double rate = context.rate(kind);
    const double decay = weight_decay * context.decay(kind);
    return {.update_moments = {T(beta1), T(beta2)},
            .epsilon = T(epsilon),
            .rate = T(rate / (1 - std::pow(beta1, double(t)))),
            .correction = T(1 / (1 - std::pow(beta2, double(t)))),
            .keep = T(Decoupled ? 1 - rate * decay : 1),
            .decay = T(Decoupled ? 0 : decay)};
  }
};

// (Outside the class, and so not inline, that preheat::kernels can have it compiled.)
template <bool Decoupled>
template <backend Be>
void adam_family<Decoupled>::step_matrix(Be& be, view_of<Be> x, view_of<Be> gradient,
                                         adam_state<view_of<Be>> moments, view_of<Be> largest,
                                         const step_context& context, parameter_role role) const {
  const auto update = kernel<scalar_of<Be>>(context, role, moments.t);
  if (amsgrad) {
    be.apply(update, x, moments.m, moments.v, largest, gradient);
  } else {
    be.apply(update, x, moments.m, moments.v, gradient);
  }
}

using adam = adam_family<false>;
using adamw = adam_family<true>;

}  // namespace preheat::optim
