// LoRA-RITE: no other split of B·A changes a run, the start from B = 0, skipped gradients, and twenty steps in
// plain loops.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"
#include "support/dense.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
adapter::lora::params<Be> pair_of(Be& be, const table& A, const table& B) {
  return {matrix(be, A), matrix(be, B)};
}

// Q and R of the columns, by Gram and Schmidt, twice.
struct qr_of {
  table Q, R;
  explicit qr_of(const table& X) : Q(X.rows, X.cols), R(X.cols, X.cols) {
    for (index_t j = 0; j < X.cols; ++j) {
      table x = columns(X, j, 1);
      for (int twice = 0; twice < 2; ++twice) {
        for (index_t i = 0; i < j; ++i) {
          const table q = columns(Q, i, 1);
          const double along = (transposed(q) * x)(0, 0);
          R(i, j) += along;
          x = x - along * q;
        }
      }
      R(j, j) = std::sqrt(square_norm(x));
      for (index_t i = 0; i < X.rows; ++i) {
        Q(i, j) = x(i, 0) / R(j, j);
      }
    }
  }
};

// 1/(√V + ε) by Denman and Beavers' iteration for √V.
table inverse_root(const table& V, double epsilon) {
  table root = V, other = identity(V.rows);
  for (int k = 0; k < 80; ++k) {
    const table next = 0.5 * (root + inverse(other));
    other = 0.5 * (other + inverse(root));
    root = next;
  }
  return inverse(root + epsilon * identity(V.rows));
}

// One factor of the reference, ranks in its columns.
struct reference_factor {
  table m{}, v{}, basis{};
  table direction(const table& G, const qr_of& other, double b1, double b2, double epsilon,
                  bool first) {
    const table inverted = inverse(other.R);
    const table u = G * inverted;
    const table fresh = 1 / double(u.rows) * (transposed(u) * u);
    const table P = first ? table{} : transposed(other.Q) * basis;
    v = first ? (1 - b2) * fresh : b2 * (P * v * transposed(P)) + (1 - b2) * fresh;
    const table step = u * inverse_root(v, epsilon);
    m = first ? (1 - b1) * step : b1 * (m * transposed(P)) + (1 - b1) * step;
    basis = other.Q;
    return m * transposed(inverted);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("lora_rite: a run is that of B·A, whatever its factors are", Be,
                   PREHEAT_BACKENDS) {
  const table A = random_table(3, 7, 1), B = random_table(6, 3, 2), target = random_table(6, 7, 3);
  const table M = random_table(3, 3, 4) + 2.0 * identity(3);
  const auto run = [&](const table& a, const table& b) {
    Be be;
    const optim::lora_rite optim{.lr = 0.02, .skip_above = 0};
    auto p = pair_of(be, a, b);
    auto state = optim.start(be, p);
    for (index_t t = 0; t < 6; ++t) {
      const table now_a = read<Be>(be, p.A), now_b = read<Be>(be, p.B);
      const table G = now_b * now_a - target;
      auto g = pair_of(be, transposed(now_b) * G, G * transposed(now_a));
      optim.step(be, p, g, state, context_of(t, 0.02));
    }
    return read<Be>(be, p.B) * read<Be>(be, p.A);
  };
  const table one = run(A, B);
  CHECK(gap(one, B * A) > 0.05);
  const double tol = std::is_same_v<scalar_of<Be>, float> ? 5e-3 : 1e-7;
  CHECK(gap(run(M * A, B * inverse(M)), one) < tol);
}

TEST_CASE_TEMPLATE(
    "lora_rite: from B = 0 the first step moves B alone; large gradients are skipped", Be,
    PREHEAT_BACKENDS) {
  Be be;
  const table A = random_table(3, 7, 1), G = random_table(6, 7, 3);
  for (const double skip : {0.0, 1.0}) {
    const optim::lora_rite optim{.lr = 0.1, .skip_above = skip};
    auto p = pair_of(be, A, table(6, 3));
    auto g = pair_of(be, table(3, 7), 1e3 * (G * transposed(A)));
    auto state = optim.start(be, p);
    optim.step(be, p, g, state, context_of(0, 0.1));
    CHECK(gap(read<Be>(be, p.A), A) < tolerance<Be>(1));
    CHECK((largest(read<Be>(be, p.B)) > 0.01) == (skip == 0));
  }
  auto p = pair_of(be, A, table(6, 3));
  CHECK_THROWS_AS((optim::lora_rite{.epsilon = 0}.start(be, p)), invalid_argument);
  CHECK_THROWS_AS((optim::lora_rite{.beta2 = 1}.start(be, p)), invalid_argument);
}

TEST_CASE("reference: LoRA-RITE, twenty steps") {
  using Be = cpu_double;
  const double rate = 0.02, decay = 0.3, s = 1.5, epsilon = 1e-3;
  const regression_data data({{9, 7}, {6, 8}});
  Be be;
  regressions<Be> net(be, data);
  regressions<Be>::batches batches{};
  auto run = start_run(lora_rite{.optim = {.lr = rate,
                                           .beta1 = 0.8,
                                           .beta2 = 0.95,
                                           .epsilon = epsilon,
                                           .weight_decay = decay,
                                           .skip_above = 0}},
                       net, batches, {.rank = 3, .steps = 20, .scaling = scaling::constant(s)});
  struct one {
    gated_tables p;
    reference_factor a{}, b{};
  };
  std::vector<one> layers;
  for (auto& l : run.adapters.layers()) {
    write(be, 0.3 * random_table(l.parameters.B.rows(), 3, layers.size() + 40),
          view_of<Be>(l.parameters.B));
    layers.push_back(
        {{read<Be>(be, l.parameters.A), read<Be>(be, l.parameters.B), table(3, 1, 1)}});
  }
  const auto corrected = [](double beta, index_t t) {
    return beta * (1 - std::pow(beta, double(t))) / (1 - std::pow(beta, double(t + 1)));
  };
  for (index_t t = 0; t < 20; ++t) {
    CAPTURE(t);
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      auto& [p, a, b] = layers[l];
      const gated_tables g = loss_gradient(data, l, p, s, regression_data::batch(t));
      const qr_of qr_b(p.B), qr_a(transposed(p.A));
      const double b1 = corrected(0.8, t), b2 = corrected(0.95, t);
      const table da = a.direction(transposed(g.A), qr_b, b1, b2, epsilon, t == 0);
      const table db = b.direction(g.B, qr_a, b1, b2, epsilon, t == 0);
      p.A = (1 - rate * decay) * p.A - rate * transposed(da);
      p.B = (1 - rate * decay) * p.B - rate * db;
      const auto& now = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(be, now.A), p.A) < 1e-8);
      CHECK(gap(read<Be>(be, now.B), p.B) < 1e-8);
    }
  }
}

TEST_CASE("lora_rite in chains, with HRP, under masks, and resumed") {
  const regression_data data({{9, 7}, {6, 8}});
  cpu_double be;
  const auto losses = [&](const auto& m, fit_options options = {.rank = 2, .steps = 40}) {
    regressions<cpu_double> net(be, data);
    regressions<cpu_double>::batches batches{};
    return fit(m, net, batches, options).losses;
  };
  const auto falls = [&](const auto& m) {
    const auto all = losses(m);
    CHECK(all[all.size() - 4] < all[0]);
  };
  const optim::lora_rite optim{.lr = 0.02, .skip_above = 0};
  falls(lora_rite{.optim = optim});
  falls(with<cola, optim::lora_rite>{.optim = optim, .chain = {.period = 10}});
  falls(with<hrp<>, optim::lora_rite>{.init = {.steps = 4, .lr = 1e-2}, .optim = optim});
  falls(method<optim::masked<optim::lora_rite>>{.optim = {.base = optim, .keep = 1}});

  training_state saved;
  fit_options options{.rank = 2, .steps = 12};
  options.checkpoint_every = 5;
  options.checkpoint = [&](const training_state& s) { saved = saved.entries.empty() ? s : saved; };
  const auto whole = losses(lora_rite{.optim = optim}, options);
  options.checkpoint = nullptr;
  options.resume = &saved;
  CHECK(losses(lora_rite{.optim = optim}, options) == whole);
}
