// The contract of an optimizer: how one step changes the parameters of one layer.
//
// A complete one, sign descent: p ← p − lr·sign(g).
//
//   struct sign_descent {
//     using axis = preheat::axes::optim;
//     double lr = 1e-3;
//
//     template <class Be, class P>
//     struct state {  // no values are kept between steps
//       template <class F>
//       void for_each_moment(F) {}
//       template <class Archive>
//       void archive(Archive&) {}
//     };
//     template <class T>
//     struct kernel {
//       T rate;
//       constexpr void operator()(T& p, const T& g) const {
//         p -= g > 0 ? rate : (g < 0 ? -rate : T(0));
//       }
//     };
//
//     template <preheat::backend Be, class P>
//     state<Be, P> start(Be&, const P&) const {
//       return {};
//     }
//     template <preheat::backend Be, class P>
//     void step(Be& be, P& p, P& gradient, state<Be, P>&, const preheat::step_context& c) const {
//       using T = preheat::scalar_of<Be>;
//       preheat::for_each_trained(
//           [&](auto parameter, auto& x, auto& g) {
//             be.apply(kernel<T>{T(c.rate(parameter.role))}, x, g);
//           },
//           p, gradient);
//     }
//   };
#pragma once
#include <concepts>

#include "backend.hpp"
#include "hooks.hpp"
#include "parameters.hpp"
#include "random.hpp"
#include "types.hpp"

namespace preheat {

// What an optimizer may use besides the parameters and their gradient.
struct step_context {
  double learning_rate = 0;  // of this step: the policy's rate times the schedule
  double scaling = 1;        // s of the layer
  index_t layer = 0;
  index_t step = 0;                                     // of the run, from 0
  index_t steps = 0;                                    // that the run will take
  generator gen{};                                      // keyed by (seed, step, layer)
  double rate_scale[role_count] = {1, 1, 1, 1, 1, 1};   // learning rate by role
  double decay_scale[role_count] = {1, 1, 1, 1, 1, 1};  // weight decay by role
  index_t matrices[role_count] = {};  // of the whole network, by role: trained matrices…
  index_t entries[role_count] = {};   // …and their entries

  double rate(parameter_role r) const { return learning_rate * rate_scale[int(r)]; }
  double decay(parameter_role r) const { return decay_scale[int(r)]; }
};

// optim: steps the parameters of one layer. A leaf optimizer has the member `lr`, a decorator has
// the member `base`. state.archive(ar) lists what a checkpoint must keep (core/archive.hpp), and
// state.for_each_moment(f) calls f on every member that has the shape of the parameters, for changes of rank.
template <class O>
concept has_rate_or_base = requires(O o) {
  { o.lr } -> std::convertible_to<double>;
}
|| requires(O o) {
  o.base;
};

// What a change of rank calls on every moment. Named, because nvcc finds no lambda inside a concept.
template <class P>
struct moment_visitor_archetype {
  void operator()(P&) const {}
};

template <class O, class Be, class P>
concept steps_parameters = requires(const O o, Be& be, const P& p, P& q,
                                    typename O::template state<Be, P>& state,
                                    const step_context& context) {
  { o.start(be, p) } -> std::same_as<typename O::template state<Be, P>>;
  { o.step(be, q, q, state, context) } -> std::same_as<void>;  // the gradient may be overwritten
  state.for_each_moment(moment_visitor_archetype<P>{});
};

template <class O, class Be, class P>
concept optim_policy = std::same_as<typename O::axis, axes::optim> && has_rate_or_base<O> &&
    steps_parameters<O, Be, P>;

// The state of a decorator (an optimizer with the member `base`): its base's, and a workspace that no
// checkpoint keeps. A decorator without a workspace uses its base's state itself.
template <class Base, class Be, class P, class Workspace>
struct decorated_state {
  typename Base::template state<Be, P> base;
  Workspace work{};
  template <class F>
  void for_each_moment(F f) {
    base.for_each_moment(f);
  }
  template <class Archive>
  void archive(Archive& ar) {
    ar("base", base);
  }
};

// The learning rate of an optimizer, through its decorators.
template <class O>
auto& learning_rate(O& optim) {
  if constexpr (requires { optim.base; }) {
    return learning_rate(optim.base);
  } else {
    return optim.lr;
  }
}

}  // namespace preheat
