// KaSA's penalties: their gradients by central differences, and twenty steps in plain loops.
#include <preheat/methods.hpp>
#include <preheat/optim/kasa_penalties.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using gated = adapter::gated<>;

// β·Σd² + γ·(‖A·Aᵀ − I‖ + ‖Bᵀ·B − I‖) of one layer.
double loss_of(const gated_tables& p, double beta, double gamma) {
  return beta * square_norm(p.g) + gamma * (penalty(p.A, true) + penalty(p.B, false));
}
table differences(gated_tables p, table gated_tables::*part, double beta, double gamma) {
  const double h = 1e-5;
  table d = p.*part;
  for (std::size_t i = 0; i < d.values.size(); ++i) {
    const double x = (p.*part).values[i];
    (p.*part).values[i] = x + h;
    const double up = loss_of(p, beta, gamma);
    (p.*part).values[i] = x - h;
    d.values[i] = (up - loss_of(p, beta, gamma)) / (2 * h);
    (p.*part).values[i] = x;
  }
  return d;
}

}  // namespace

TEST_CASE_TEMPLATE("kasa_penalties: gradients equal differences, and are added", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto p = random_params<gated>(be, 1);
  const gated_tables tables{read<Be>(be, p.A), read<Be>(be, p.B), read<Be>(be, p.g)};
  for (const auto& [beta, gamma] : {std::pair{0.3, 0.7}, {0.3, 0.0}, {0.0, 0.7}}) {
    auto g = random_gradient<gated>(be, 2);
    const gated_tables before{read<Be>(be, g.A), read<Be>(be, g.B), read<Be>(be, g.g)};
    optim::kasa_penalties<>{.beta = beta, .gamma = gamma}.on(hook::penalize{}, be, p, g,
                                                             context_of(3));
    const double tol = std::max(1e-8, tolerance<Be>(4));
    CHECK(gap(read<Be>(be, g.A) - before.A, differences(tables, &gated_tables::A, beta, gamma)) <
          tol);
    CHECK(gap(read<Be>(be, g.B) - before.B, differences(tables, &gated_tables::B, beta, gamma)) <
          tol);
    CHECK(gap(read<Be>(be, g.g) - before.g, differences(tables, &gated_tables::g, beta, gamma)) <
          tol);
  }
}

TEST_CASE_TEMPLATE("kasa_penalties: orthonormal factors have no gradient, and neither has B = 0",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  gated::params<Be> p{linalg::identity(be, 4), be.zeros(6, 4), be.zeros(4, 1)};
  auto g = zeros_like(be, p);
  optim::kasa_penalties<>{.beta = 1, .gamma = 1}.on(hook::penalize{}, be, p, g, context_of(0));
  for_each([&](auto, auto& x) { CHECK(largest(read<Be>(be, x)) == 0); }, g);
}

TEST_CASE("reference: KaSA with its penalties, twenty steps of AdamW") {
  using Be = cpu_double;
  const regression_data data({{9, 7}, {6, 8}});
  Be be;
  regressions<Be> net(be, data);
  regressions<Be>::batches batches{};
  const double rate = 0.03, decay = 0.1, beta = 0.2, gamma = 0.4, s = 1.5;
  kasa_penalized m{
      .optim = {.base = {.lr = rate, .weight_decay = decay}, .beta = beta, .gamma = gamma}};
  auto run = start_run(m, net, batches, {.rank = 3, .steps = 20, .scaling = scaling::constant(s)});
  struct one {
    gated_tables p;
    reference_adam a{}, b{}, g{};
  };
  std::vector<one> layers;
  for (const auto& l : run.adapters.layers()) {
    const auto& p = l.parameters;
    layers.push_back({{read<Be>(be, p.A), read<Be>(be, p.B), read<Be>(be, p.g)}});
  }
  regression_data truncated = data;  // the W that the init left
  for (std::size_t l = 0; l < 2; ++l) {
    truncated.layers[l].W = net.weights()[l];
    CHECK(gap(truncated.layers[l].W, data.layers[l].W) > 1e-2);
  }
  for (index_t t = 0; t < 20; ++t) {
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      auto& [p, a, b, d] = layers[l];
      const gated_tables g = loss_gradient(truncated, l, p, s, regression_data::batch(t));
      const table ga = g.A + gamma * penalty_gradient(p.A, true);
      const table gb = g.B + gamma * penalty_gradient(p.B, false);
      const table gd = g.g + 2 * beta * p.g;
      const double keep = 1 - rate * decay;
      p.A = keep * p.A - rate * a.direction(ga);
      p.B = keep * p.B - rate * b.direction(gb);
      p.g = keep * p.g - rate * d.direction(gd);
      const auto& now = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(be, now.A), p.A) < 1e-10);
      CHECK(gap(read<Be>(be, now.B), p.B) < 1e-10);
      CHECK(gap(read<Be>(be, now.g), p.g) < 1e-10);
    }
  }
}
