// The optimizers against their defining recurrences in plain loops, entry by entry.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/optim/adam.hpp>
#include <preheat/optim/sgd.hpp>

#include "support/backends.hpp"
#include "support/table.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr int steps = 6;
constexpr double rate = 0.05;

// The gradient of step t, and where A and B start.
table gradient_of(const char* parameter, int t) {
  return parameter[0] == 'A' ? random_table(2, 7, std::uint64_t(300 + t))
                             : random_table(9, 2, std::uint64_t(400 + t));
}
table start_of(const char* parameter) {
  return gradient_of(parameter, 50);
}

// Runs `optim` on the two factors, and `reference(t, p, g, memory)` on every entry, t from 1; every
// entry has four numbers of memory, all 0 at first.
template <class Be, class Adapter = adapter::lora, class Optim, class Reference>
void check(const Optim& optim, Reference reference) {
  using params = typename Adapter::template params<Be>;
  Be be;
  params p{matrix(be, start_of("A")), matrix(be, start_of("B"))};
  auto state = optim.start(be, p);
  step_context context;
  context.learning_rate = rate;
  context.rate_scale[int(parameter_role::B)] = 2;   // B has twice the rate,
  context.decay_scale[int(parameter_role::B)] = 0;  // and no decay
  for (int t = 1; t <= steps; ++t) {
    params g = zeros_like(be, p);
    for_each_trained(
        [&](auto parameter, auto& x) { write(be, gradient_of(parameter.name, t), view_of<Be>(x)); },
        g);
    optim.step(be, p, g, state, context);
  }
  for_each(
      [&](auto parameter, auto& x) {
        table want = start_of(parameter.name);
        const bool is_b = parameter.role == parameter_role::B;
        for (std::size_t i = 0; parameter.trained && i < want.values.size(); ++i) {
          double memory[4] = {};
          for (int t = 1; t <= steps; ++t) {
            const double g = gradient_of(parameter.name, t).values[i];
            reference(t, want.values[i], g, memory, is_b ? 2 * rate : rate, is_b ? 0.0 : 1.0);
          }
        }
        CAPTURE(std::string(parameter.name));
        CHECK(gap(read<Be>(be, x), want) < tolerance<Be>(1));
      },
      p);
}

}  // namespace

TEST_CASE_TEMPLATE("sgd: plain with decay", Be, PREHEAT_BACKENDS) {
  check<Be>(optim::sgd{.weight_decay = 0.1}, [](int, double& p, double g, double*, double lr,
                                                double decay) { p -= lr * (g + 0.1 * decay * p); });
}

TEST_CASE_TEMPLATE("sgd: momentum and dampening", Be, PREHEAT_BACKENDS) {
  check<Be>(optim::sgd{.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1},
            [](int t, double& p, double g, double* u, double lr, double decay) {
              g += 0.1 * decay * p;
              u[0] = t == 1 ? g : 0.9 * u[0] + 0.7 * g;
              p -= lr * u[0];
            });
}

TEST_CASE_TEMPLATE("sgd: Nesterov", Be, PREHEAT_BACKENDS) {
  check<Be>(optim::sgd{.momentum = 0.8, .nesterov = true},
            [](int t, double& p, double g, double* u, double lr, double) {
              u[0] = t == 1 ? g : 0.8 * u[0] + g;
              p -= lr * (g + 0.8 * u[0]);
            });
}

TEST_CASE_TEMPLATE("adam and adamw: decay in the gradient or apart from it", Be, PREHEAT_BACKENDS) {
  const auto reference = [](bool decoupled, bool amsgrad) {
    return [=](int t, double& p, double g, double* s, double lr, double decay) {
      decay *= 0.2;
      if (decoupled) {
        p *= 1 - lr * decay;
      } else {
        g += decay * p;
      }
      s[0] = 0.8 * s[0] + 0.2 * g;
      s[1] = 0.95 * s[1] + 0.05 * g * g;
      s[2] = std::max(s[2], s[1]);
      const double second = (amsgrad ? s[2] : s[1]) / (1 - std::pow(0.95, t));
      p -= lr * s[0] / (1 - std::pow(0.8, t)) / (std::sqrt(second) + 1e-3);
    };
  };
  for (const bool amsgrad : {false, true}) {
    check<Be>(
        optim::adam{
            .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.2, .amsgrad = amsgrad},
        reference(false, amsgrad));
    check<Be>(
        optim::adamw{
            .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.2, .amsgrad = amsgrad},
        reference(true, amsgrad));
  }
}

TEST_CASE_TEMPLATE("optimizers leave frozen parts alone", Be, PREHEAT_BACKENDS) {
  const auto descend = [](int, double& p, double g, double*, double lr, double) { p -= lr * g; };
  check<Be, adapter::asymmetric<parameter_role::A>>(optim::sgd{}, descend);
  check<Be, adapter::asymmetric<parameter_role::B>>(optim::sgd{}, descend);
  Be be;
  const typename adapter::asymmetric<parameter_role::A>::params<Be> p{be.zeros(2, 7),
                                                                      be.zeros(9, 2)};
  const auto state = optim::adamw{}.start(be, p);
  CHECK(state.m.A.rows() == 2);
  CHECK(state.m.B.rows() == 0);
}
