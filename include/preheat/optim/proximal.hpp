// SoRA's sparse gates ("Sparse Low-rank Adaptation of Pre-trained Language Models", arXiv
// 2311.11696), over any optimizer and an adapter with learned gates: η·Σ|g|/N over all N gate entries
// of the network is added to the loss (before clipping), and after every step each gate is
// soft-thresholded, by ξ and not by lr·ξ:
//
//   T_ξ(z) = sign(z)·max(|z| − ξ, 0), the minimiser over p of ½(z − p)² + ξ·|p|
//
//   published_rule  the threshold of the authors' code: |z| < 2ξ → 0, else sign(z)·(|z| − ξ)
//
// ξ is constant, or goes from `xi` to `xi_last` in `stages` equal parts of the run, stage k of K at
// x = k/(K − 1): linear (1 − x)·ξ₀ + x·ξ₁, log_linear log((1 − x)·e^ξ₀ + x·e^ξ₁), exp_linear
// ξ₀^(1−x)·ξ₁^x (forms [paper], equal parts [preheat]). `first_stage` is the first part's share of the
// run; the others are equal.
// Gates have no weight decay. η = 10, ξ = 3e-4, lr 8e-4, decay 0.1, r = 8; with a schedule η = 1e-3,
// ξ from 0 to 7e-4, K = 7 [paper].
//
// The authors' code (github.com/TsinghuaC3I/SoRA) also has α = 16, gradients clipped at 0.1, the
// norms of the layers trained, and lr 1.2e-3 with a schedule. Its first stage takes 50 epochs and the
// other six 15 each, so first_stage = 50/140; by reading, the learning rate of these later stages is
// that of the end of a linear schedule, 0, so that only the threshold acts in them. Here the run's
// schedule spans all stages [preheat].
#pragma once
#include <algorithm>
#include <cmath>

#include "../core/concepts.hpp"
#include "adam.hpp"

namespace preheat::optim {

template <class T>
struct lasso_gradient_kernel {  // g += η·sign(z)
  T eta;
  constexpr void operator()(T& g, const T& z) const { g += z > 0 ? eta : (z < 0 ? -eta : T(0)); }
};
template <class T>
struct soft_threshold_kernel {  // |z| < dead → 0, else sign(z)·(|z| − ξ)
  T xi, dead;
  constexpr void operator()(T& z) const {
    const T size = z < 0 ? -z : z;
    z = size < dead ? T(0) : (z > 0 ? z - xi : z + xi);
  }
};

enum class xi_schedule { constant, linear, log_linear, exp_linear };

template <class Base = adamw>
struct proximal {
  using axis = axes::optim;

  Base base{};
  double eta = 10;
  double xi = 3e-4;
  double xi_last = 0;  // of a schedule
  xi_schedule schedule = xi_schedule::constant;
  index_t stages = 7;
  double first_stage = 0;  // of the run; 0: 1/stages
  bool published_rule = false;

  template <class Be, class P>
  using state = typename Base::template state<Be, P>;

  // ξ at a step of a run.
  double threshold(index_t step, index_t steps) const {
    if (schedule == xi_schedule::constant || stages == 1) {
      return xi;
    }
    const index_t all = std::max<index_t>(1, steps);
    const double late = (double(step) / double(all) - first_stage) / (1 - first_stage);
    const index_t stage = std::min(stages - 1, first_stage == 0 ? step * stages / all
                                               : late < 0       ? 0
                                                          : 1 + index_t(late * double(stages - 1)));
    const double x = double(stage) / double(stages - 1);
    switch (schedule) {
      case xi_schedule::log_linear:
        return std::log((1 - x) * std::exp(xi) + x * std::exp(xi_last));
      case xi_schedule::exp_linear:
        return std::exp((1 - x) * std::log(xi) + x * std::log(xi_last));
      default:
        return (1 - x) * xi + x * xi_last;
    }
  }

  template <backend Be, class P>
  void on(hook::penalize, Be& be, const P& p, P& gradient, const step_context& context) const {
    using T = scalar_of<Be>;
    if (eta == 0) {
      return;
    }
    const T share = T(eta / double(context.entries[int(parameter_role::gate)]));
    for_each_trained(
        [&](auto parameter, const mat<Be>& z, mat<Be>& g) {
          if constexpr (parameter.role == parameter_role::gate) {
            be.apply(lasso_gradient_kernel<T>{share}, g, z);
          }
        },
        p, gradient);
  }
  template <backend Be, class P>
  state<Be, P> start(Be& be, const P& p) const {
    static_assert(trains<P>(parameter_role::gate),
                  "preheat: optim::proximal shrinks learned gates; use adapter::gated<>");
    require(eta >= 0, "optim::proximal: eta >= 0", eta, 0.0);
    require(xi >= 0 && xi_last >= 0, "optim::proximal: xi >= 0", xi, xi_last);
    require(stages >= 1, "optim::proximal: stages >= 1", stages, 1);
    require(0 <= first_stage && first_stage < 1, "optim::proximal: 0 <= first_stage < 1",
            first_stage, 1.0);
    require(schedule != xi_schedule::exp_linear || (xi > 0 && xi_last > 0),
            "optim::proximal: an exp_linear schedule needs xi > 0 and xi_last > 0", xi, xi_last);
    return base.start(be, p);
  }
  template <backend Be, class P>
  void step(Be& be, P& p, P& gradient, state<Be, P>& st, step_context context) const {
    using T = scalar_of<Be>;
    context.decay_scale[int(parameter_role::gate)] = 0;
    base.step(be, p, gradient, st, context);
    const double now = threshold(context.step, context.steps);
    if (now == 0) {
      return;
    }
    for_each_trained(
        [&](auto parameter, mat<Be>& z) {
          if constexpr (parameter.role == parameter_role::gate) {
            const double dead = published_rule ? 2 * now : now;
            be.apply(soft_threshold_kernel<T>{T(now), T(dead)}, z);
          }
        },
        p);
  }
};

}  // namespace preheat::optim
