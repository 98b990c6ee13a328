// Muon, LoRA-Muon and RefLoRA: their laws on every backend, and twenty steps of each in plain loops.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"
#include "support/dense.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using pair_tables = gated_tables;

// √C and its inverse by Denman and Beavers' iteration, C positive definite.
struct roots_of {
  table root, inverse_root;
  explicit roots_of(const table& C) : root(C), inverse_root(identity(C.rows)) {
    for (int k = 0; k < 60; ++k) {
      const table next = 0.5 * (root + inverse(inverse_root));
      inverse_root = 0.5 * (inverse_root + inverse(root));
      root = next;
    }
  }
};
// The polar factor.
table sign_of(const table& X) {
  return X.rows <= X.cols ? roots_of(X * transposed(X)).inverse_root * X
                          : X * roots_of(transposed(X) * X).inverse_root;
}

template <class Be>
adapter::lora::params<Be> pair_of(Be& be, const table& A, const table& B) {
  return {matrix(be, A), matrix(be, B)};
}

// The change of B·A in one step at this rate with the gradient G of B·A, s = 1.
template <class Be, class Optim>
table change(const Optim& optim, const table& A, const table& B, const table& G, double rate) {
  Be be;
  auto p = pair_of(be, A, B);
  auto g = pair_of(be, transposed(B) * G, G * transposed(A));
  auto state = optim.start(be, p);
  optim.step(be, p, g, state, context_of(0, rate));
  return read<Be>(be, p.B) * read<Be>(be, p.A) - B * A;
}

// A pair of which plain loops know everything, and a regression on it.
template <class Method, class Update>
void check_reference(const Method& m, double rate, double s, Update update,
                     double weight_decay = 0) {
  using Be = cpu_double;
  const regression_data data({{9, 7}, {6, 8}});
  Be be;
  regressions<Be> net(be, data);
  regressions<Be>::batches batches{};
  auto run = start_run(m, net, batches, {.rank = 3, .steps = 20, .scaling = scaling::constant(s)});
  struct one {
    pair_tables p;
    pair_tables m{};
    reference_adam a{}, b{};
  };
  std::vector<one> layers;
  for (auto& l : run.adapters.layers()) {
    // From a B that is not zero, so that Gram matrices are regular.
    write(be, 0.1 * random_table(l.parameters.B.rows(), 3, layers.size() + 40),
          view_of<Be>(l.parameters.B));
    layers.push_back(
        {{read<Be>(be, l.parameters.A), read<Be>(be, l.parameters.B), table(3, 1, 1)}});
  }
  for (index_t t = 0; t < 20; ++t) {
    CAPTURE(t);
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      const pair_tables g = loss_gradient(data, l, layers[l].p, s, regression_data::batch(t));
      update(layers[l], g, rate, t, weight_decay);
      const auto& now = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(be, now.A), layers[l].p.A) < 1e-10);
      CHECK(gap(read<Be>(be, now.B), layers[l].p.B) < 1e-10);
    }
  }
}

}  // namespace

TEST_CASE_TEMPLATE("polar factor: orthonormal, with X on its positive side", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{7, 3}, {3, 7}, {4, 4}}) {
    const table X = random_table(m, n, 5);
    const table U = read<Be>(be, linalg::polar_factor<Be>(be, matrix(be, X)));
    const double tol = tolerance<Be>(1000);
    CHECK(gap(U, sign_of(X)) < tol);
    CHECK(gap(m <= n ? U * transposed(U) : transposed(U) * U, identity(std::min(m, n))) < tol);
    CHECK(gap(read<Be>(be, linalg::polar_factor<Be>(be, matrix(be, 1e-3 * X))), U) < tol);
  }
  CHECK(largest(read<Be>(be, linalg::polar_factor<Be>(be, be.zeros(3, 5)))) == 0);
  // A direction that is not there stays away: rank 1.
  const table x = random_table(4, 1, 6), y = random_table(5, 1, 7);
  const table U = read<Be>(be, linalg::polar_factor<Be>(be, matrix(be, x * transposed(y))));
  const double size = std::sqrt(square_norm(x) * square_norm(y));
  CHECK(gap(U, 1 / size * (x * transposed(y))) < tolerance<Be>(100));
}

TEST_CASE_TEMPLATE("lora_muon: the step of B·A has spectral norm η and no other split changes it",
                   Be, PREHEAT_BACKENDS) {
  const double rate = 1e-2;
  const optim::lora_muon optim{.lr = rate};
  const table A = random_table(3, 7, 1), B = random_table(6, 3, 2), G = random_table(6, 7, 3);
  const table M = random_table(3, 3, 4) + 2.0 * identity(3);
  const double tol = rate * tolerance<Be>(3000);
  const table one = change<Be>(optim, A, B, G, rate);
  CHECK(gap(change<Be>(optim, M * A, B * inverse(M), G, rate), one) < tol);
  CHECK(gap(change<Be>(optim, A, B, 50.0 * G, rate), one) < tol);  // nor the gradient's size
  // To first order it is −η/2·(msign(G·Q_Aᵀ)·Q_A + Q_B·msign(Q_Bᵀ·G)).
  const table qa = roots_of(A * transposed(A)).inverse_root * A;
  const table qb = B * roots_of(transposed(B) * B).inverse_root;
  const table wanted =
      -rate / 2 * (sign_of(G * transposed(qa)) * qa + qb * sign_of(transposed(qb) * G));
  CHECK(gap(one, wanted) < rate * rate + tol);
}

TEST_CASE_TEMPLATE("lora_muon: from B = 0 the first step moves B; decay is of the product", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const optim::lora_muon optim{.lr = 0.1, .weight_decay = 0.5};
  const table A = random_table(3, 7, 1);
  {
    auto p = pair_of(be, A, table(6, 3));
    auto g = pair_of(be, table(3, 7), random_table(6, 7, 3) * transposed(A));
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0, 0.1));
    const double q = std::sqrt(1 - 0.1 * 0.5);
    CHECK(gap(read<Be>(be, p.A), q * A) < tolerance<Be>(1));
    // Every singular value of the change is η/(2q).
    const table C = read<Be>(be, p.B) * (roots_of(A * transposed(A)).root);
    CHECK(gap(transposed(C) * C, 0.05 * 0.05 / (q * q) * identity(3)) < tolerance<Be>(10));
  }
  {
    const table B = random_table(6, 3, 2);
    auto p = pair_of(be, A, B);
    auto g = zeros_like(be, p);
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0, 0.1));
    CHECK(gap(read<Be>(be, p.B) * read<Be>(be, p.A), 0.95 * (B * A)) < tolerance<Be>(20));
  }
  auto p = pair_of(be, A, table(6, 3));
  CHECK_THROWS_AS((optim::lora_muon{.beta = 1}.start(be, p)), invalid_argument);
  auto state = optim.start(be, p);
  auto g = zeros_like(be, p);
  CHECK_THROWS_AS(optim.step(be, p, g, state, context_of(0, 2.0)), invalid_argument);
}

TEST_CASE_TEMPLATE("reflora: S·A·Aᵀ·S = Bᵀ·B, and gradients pass through it", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const table A = random_table(3, 7, 1), B = random_table(6, 3, 2);
  for (const bool scalar : {false, true}) {
    CAPTURE(scalar);
    const optim::reflora<optim::sgd> optim{.base = {.lr = 1}, .warmup = 0, .scalar = scalar};
    auto p = pair_of(be, A, B);
    const table ga = random_table(3, 7, 3), gb = random_table(6, 3, 4);
    auto g = pair_of(be, ga, gb);
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0, 1));
    const double ratio = std::sqrt(square_norm(B) / square_norm(A));
    const roots_of root(A * transposed(A));
    const table S = scalar ? ratio * identity(3)
                           : root.inverse_root *
                                 roots_of(root.root * (transposed(B) * B) * root.root).root *
                                 root.inverse_root;
    if (!scalar) {
      CHECK(gap(S * (A * transposed(A)) * S, transposed(B) * B) < 1e-10);
    }
    const double tol = tolerance<Be>(300);
    CHECK(gap(A - read<Be>(be, p.A), inverse(S) * ga) < tol);
    CHECK(gap(B - read<Be>(be, p.B), gb * S) < tol);
  }
  // Zero factors and the warmup: the base's step.
  for (const index_t warmup : {0, 1}) {
    const optim::reflora<optim::sgd> optim{.base = {.lr = 1}, .warmup = warmup};
    auto p = pair_of(be, A, warmup == 0 ? table(6, 3) : B);
    const table before = read<Be>(be, p.B);
    auto g = pair_of(be, random_table(3, 7, 3), random_table(6, 3, 4));
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0, 1));
    CHECK(gap(before - read<Be>(be, p.B), random_table(6, 3, 4)) < tolerance<Be>(1));
  }
  CHECK_THROWS_AS((optim::reflora<>{.warmup = -1}.start(be, pair_of(be, A, B))), invalid_argument);
}

TEST_CASE("reference: LoRA-Muon, twenty steps") {
  const double rate = 0.02, decay = 0.5;
  check_reference(
      lora_muon{.optim = {.lr = rate, .beta = 0.8, .weight_decay = decay}}, rate, 1.5,
      [](auto& l, const pair_tables& g, double eta, index_t t, double lambda) {
        if (t == 0) {
          l.m = {table(g.A.rows, g.A.cols), table(g.B.rows, g.B.cols), {}};
        }
        l.m.A = 0.8 * l.m.A + 0.2 * g.A;
        l.m.B = 0.8 * l.m.B + 0.2 * g.B;
        const table ra = roots_of(l.p.A * transposed(l.p.A)).inverse_root;
        const table rb = roots_of(transposed(l.p.B) * l.p.B).inverse_root;
        const double q = std::sqrt(1 - eta * lambda);
        const table a = rb * sign_of(rb * l.m.A), b = sign_of(l.m.B * ra) * ra;
        l.p.A = q * l.p.A - eta / (2 * q) * a;
        l.p.B = q * l.p.B - eta / (2 * q) * b;
      },
      decay);
}

TEST_CASE("reference: Muon of each factor, with Nesterov's momentum and without, twenty steps") {
  for (const bool nesterov : {false, true}) {
    CAPTURE(nesterov);
    const double rate = 0.02;
    check_reference(
        lora_by_muon{
            .optim = {.lr = rate, .momentum = 0.9, .weight_decay = 0.3, .nesterov = nesterov}},
        rate, 1.5,
        [nesterov](auto& l, const pair_tables& g, double eta, index_t t, double lambda) {
          if (t == 0) {
            l.m = {table(g.A.rows, g.A.cols), table(g.B.rows, g.B.cols), {}};
          }
          const auto move = [&](table& x, table& m, const table& gradient) {
            m = 0.9 * m + gradient;
            const double tall = std::sqrt(std::max(1.0, double(x.rows) / double(x.cols)));
            x = (1 - eta * lambda) * x - eta * tall * sign_of(nesterov ? gradient + 0.9 * m : m);
          };
          move(l.p.A, l.m.A, g.A);
          move(l.p.B, l.m.B, g.B);
        },
        0.3);
  }
}

TEST_CASE("reference: RefLoRA over AdamW, twenty steps of which three are warmup") {
  const double rate = 0.02, decay = 0.1;
  check_reference(
      reflora{.optim = {.base = {.lr = rate, .weight_decay = decay}, .warmup = 3}}, rate, 1.5,
      [](auto& l, const pair_tables& g, double eta, index_t t, double lambda) {
        table ga = g.A, gb = g.B;
        if (t >= 3) {
          const roots_of root(l.p.A * transposed(l.p.A));
          const table S = root.inverse_root *
                          roots_of(root.root * (transposed(l.p.B) * l.p.B) * root.root).root *
                          root.inverse_root;
          ga = inverse(S) * ga;
          gb = gb * S;
        }
        l.p.A = (1 - eta * lambda) * l.p.A - eta * l.a.direction(ga);
        l.p.B = (1 - eta * lambda) * l.p.B - eta * l.b.direction(gb);
      },
      decay);
}

TEST_CASE("spectral optimizers under chains, HRP and masks") {
  const regression_data data({{9, 7}, {6, 8}});
  cpu_double be;
  const auto falls = [&](const auto& m) {
    regressions<cpu_double> net(be, data);
    regressions<cpu_double>::batches batches{};
    const auto report = fit(m, net, batches, {.rank = 2, .steps = 40});
    CHECK(report.status == fit_status::completed);
    // Every fourth step has the same batch.
    CHECK(report.losses[report.losses.size() - 4] < report.losses[0]);
  };
  falls(lora_muon{.optim = {.lr = 0.05}});
  falls(with<cola, optim::lora_muon>{.optim = {.lr = 0.05}, .chain = {.period = 10}});
  falls(with<hrp<>, optim::lora_muon>{.init = {.steps = 4, .lr = 1e-2}, .optim = {.lr = 0.05}});
  falls(method<optim::masked<optim::lora_muon>>{.optim = {.base = {.lr = 0.05}, .keep = 1}});
  falls(lora_by_muon{.optim = {.lr = 0.02}});
  falls(with<rac_lora_adamw, optim::muon>{.optim = {.lr = 0.02}, .chain = {.period = 10}});
  falls(reflora{.optim = {.base = {.lr = 0.02}, .warmup = 2}});
  falls(with<cola, optim::reflora<>>{.optim = {.base = {.lr = 0.02}, .warmup = 2},
                                     .chain = {.period = 10}});
  falls(method<optim::masked<optim::reflora<>>>{
      .optim = {.base = {.base = {.lr = 0.02}, .warmup = 2}, .keep = 1}});
}
