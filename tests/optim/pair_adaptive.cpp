// LoFT and SOAP: where each is AdamW of something else, and twenty steps of each in plain loops.
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

// The eigenvectors of a symmetric matrix by Jacobi's rotations, in the order of the eigenvalues.
table eigenvectors(table C) {
  const index_t n = C.rows;
  table Q = identity(n);
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (index_t p = 0; p < n; ++p) {
      for (index_t q = p + 1; q < n; ++q) {
        const double angle = 0.5 * std::atan2(2 * C(p, q), C(q, q) - C(p, p));
        table J = identity(n);
        J(p, p) = J(q, q) = std::cos(angle);
        J(p, q) = std::sin(angle);
        J(q, p) = -std::sin(angle);
        C = transposed(J) * C * J;
        Q = Q * J;
      }
    }
  }
  for (index_t i = 0; i < n; ++i) {
    for (index_t j = i + 1; j < n; ++j) {
      if (C(j, j) < C(i, i)) {
        std::swap(C(i, i), C(j, j));
        for (index_t k = 0; k < n; ++k) {
          std::swap(Q(k, i), Q(k, j));
        }
      }
    }
  }
  return Q;
}

// One factor of SOAP's reference, in which the side of the three ranks alone counts: the Gram matrix of
// another has no full rank at first, and so no definite eigenvectors.
struct reference_soap {
  table L{}, K{}, left{}, right{}, m{}, v{};
  static table basis(const table& C) { return C.rows == 3 ? eigenvectors(C) : identity(C.rows); }
  table step(const table& x, const table& g, index_t t, double rate, double decay, double beta,
             double epsilon, index_t frequency) {
    table next = x;
    if (t == 0) {
      L = table(g.rows, g.rows), K = table(g.cols, g.cols), m = v = table(g.rows, g.cols);
    } else {
      m = beta * m + (1 - beta) * g;
      const table seen = transposed(left) * g * right;
      table d = transposed(left) * m * right;
      for (std::size_t i = 0; i < d.values.size(); ++i) {
        v.values[i] = beta * v.values[i] + (1 - beta) * seen.values[i] * seen.values[i];
        d.values[i] /= std::sqrt(v.values[i]) + epsilon;
      }
      const double corrected =
          std::sqrt(1 - std::pow(beta, double(t))) / (1 - std::pow(beta, double(t)));
      next = (1 - rate * decay) * (x - rate * corrected * (left * d * transposed(right)));
    }
    L = beta * L + (1 - beta) * (g * transposed(g));
    K = beta * K + (1 - beta) * (transposed(g) * g);
    if (t % frequency == 0) {
      left = basis(L);
      right = basis(K);
    }
    return next;
  }
};

// One factor of LoFT's reference, ranks in its columns.
struct reference_loft {
  table m{}, partner{};
  std::vector<table> products{};  // r×r, one per row

  void follow(const table& G, const table& Y, const table& C) {
    const table g = G * C;
    if (partner.rows == 0) {
      m = table(g.rows, g.cols);
      products.assign(std::size_t(g.rows), table(g.cols, g.cols));
    } else {
      const table R = partner * transposed(Y) * C;
      m = m * R;
      for (table& P : products) {
        P = transposed(R) * P * R;
      }
    }
    partner = Y;
    m = 0.8 * m + 0.2 * g;
    for (index_t i = 0; i < g.rows; ++i) {
      const table row = columns(transposed(g), i, 1);
      products[i] = 0.9 * products[i] + 0.1 * (row * transposed(row));
    }
  }
  table direction(const table& Y, const table& C, index_t t, double epsilon) const {
    table U = m * Y;
    for (index_t i = 0; i < U.rows; ++i) {
      for (index_t j = 0; j < U.cols; ++j) {
        const table y = columns(Y, j, 1);
        const double v = (transposed(y) * products[i] * y)(0, 0);
        U(i, j) *= 1 / (1 - std::pow(0.8, double(t)));
        U(i, j) /= std::sqrt(v / (1 - std::pow(0.9, double(t)))) + epsilon;
      }
    }
    return U * transposed(Y) * C;
  }
};

struct scene {
  regression_data data{{{9, 7}, {6, 8}}};
  cpu_double be{};
  regressions<cpu_double> net{be, data};
  regressions<cpu_double>::batches batches{};
};
// The losses of a run of forty steps, of which every fourth has the same batch.
template <class Method>
void falls(const Method& m) {
  scene s;
  const auto report = fit(m, s.net, s.batches, {.rank = 2, .steps = 40});
  CHECK(report.status == fit_status::completed);
  CHECK(report.losses[report.losses.size() - 4] < report.losses[0]);
}

}  // namespace

TEST_CASE_TEMPLATE("loft: of a square pair every step is AdamW's step of the product", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 4;
  const table A = random_table(n, n, 1) + 2.0 * identity(n);
  const table B = random_table(n, n, 2) + 2.0 * identity(n);
  const table target = random_table(n, n, 3);
  const double rate = 0.01;
  const optim::loft optim{
      .lr = rate, .epsilon = 1e-3, .weight_decay = 0, .damping_a = 0, .damping_b = 0};
  auto p = pair_of(be, A, B);
  auto state = optim.start(be, p);
  table W = B * A;
  reference_adam adam{.epsilon = 1e-3};
  for (index_t t = 0; t < 8; ++t) {
    CAPTURE(t);
    const table G = W - target;
    auto g = pair_of(be, transposed(read<Be>(be, p.B)) * G, G * transposed(read<Be>(be, p.A)));
    optim.step(be, p, g, state, context_of(t, rate));
    W = W - rate * adam.direction(G);
    CHECK(gap(read<Be>(be, p.B) * read<Be>(be, p.A), W) < tolerance<Be>(1000));
  }
  CHECK(gap(W, B * A) > 0.03);
}

TEST_CASE_TEMPLATE("loft: from B = 0 B moves first and A next", Be, PREHEAT_BACKENDS) {
  Be be;
  const table A = random_table(3, 7, 1), G = random_table(6, 7, 3);
  const optim::loft optim{.lr = 0.1, .weight_decay = 0};
  auto p = pair_of(be, A, table(6, 3));
  auto state = optim.start(be, p);
  for (const index_t t : {0, 1}) {
    const table a = read<Be>(be, p.A), b = read<Be>(be, p.B);
    auto g = pair_of(be, transposed(b) * G, G * transposed(a));
    optim.step(be, p, g, state, context_of(t, 0.1));
    CHECK(same(read<Be>(be, p.A), a) == (t == 0));
    CHECK(same(read<Be>(be, p.B), b) == (t == 1));
  }
  CHECK_THROWS_AS((optim::loft{.beta2 = 1}.start(be, p)), invalid_argument);
  CHECK_THROWS_AS((optim::loft{.damping_a = -1}.start(be, p)), invalid_argument);
}

TEST_CASE_TEMPLATE("soap: rotated gradients give the rotated run; the first step only looks", Be,
                   PREHEAT_BACKENDS) {
  const table Q = eigenvectors(random_table(3, 3, 5) + transposed(random_table(3, 3, 5)));
  const auto run = [&](const table& turn, index_t largest_side) {
    Be be;
    const optim::soap optim{
        .lr = 0.1, .weight_decay = 0, .frequency = 3, .largest_side = largest_side};
    auto p = pair_of(be, table(3, 7), table(6, 3));
    auto state = optim.start(be, p);
    for (index_t t = 0; t < 6; ++t) {
      // A gradient whose Gram matrices have distinct eigenvalues.
      const table G = turn * (diagonal({3, 2, 1}) * random_table(3, 7, 10 + std::uint64_t(t)));
      auto g = pair_of(be, G, table(6, 3));
      optim.step(be, p, g, state, context_of(t, 0.1));
      if (t == 0) {
        CHECK(largest(read<Be>(be, p.A)) == 0);
      }
    }
    return read<Be>(be, p.A);
  };
  const double tol = std::is_same_v<scalar_of<Be>, float> ? 1e-2 : 1e-8;
  const table one = run(identity(3), 3);  // only the side of the ranks counts
  CHECK(largest(one) > 0.1);
  CHECK(gap(run(Q, 3), Q * one) < tol);
  CHECK(gap(run(Q, 2), Q * one) > 0.05);  // Adam knows its axes
  Be be;
  CHECK_THROWS_AS((optim::soap{.frequency = 0}.start(be, adapter::lora::params<Be>{})),
                  invalid_argument);
}

TEST_CASE("reference: LoFT and SOAP, twenty steps") {
  const double rate = 0.02, decay = 0.3, s = 1.5, epsilon = 1e-3;
  using Be = cpu_double;
  const auto check = [&](const auto& m, auto update) {
    scene x;
    auto run =
        start_run(m, x.net, x.batches, {.rank = 3, .steps = 20, .scaling = scaling::constant(s)});
    std::vector<gated_tables> pairs;
    for (auto& l : run.adapters.layers()) {
      write(x.be, 0.3 * random_table(l.parameters.B.rows(), 3, pairs.size() + 40),
            view_of<Be>(l.parameters.B));
      pairs.push_back(
          {read<Be>(x.be, l.parameters.A), read<Be>(x.be, l.parameters.B), table(3, 1, 1)});
    }
    for (index_t t = 0; t < 20; ++t) {
      CAPTURE(t);
      run.step();
      for (std::size_t l = 0; l < 2; ++l) {
        const auto g = loss_gradient(x.data, l, pairs[l], s, regression_data::batch(t));
        update(l, pairs[l], g, t);
        const auto& now = run.adapters.layers()[l].parameters;
        CHECK(gap(read<Be>(x.be, now.A), pairs[l].A) < 1e-8);
        CHECK(gap(read<Be>(x.be, now.B), pairs[l].B) < 1e-8);
      }
    }
  };
  const auto inverse_gram = [](const table& Y, double damping) {
    return inverse(Y * transposed(Y) + damping * identity(Y.rows));
  };
  std::vector<reference_loft> a(2), b(2);
  check(
      loft{.optim =
               {.lr = rate, .beta1 = 0.8, .beta2 = 0.9, .epsilon = epsilon, .weight_decay = decay}},
      [&](std::size_t l, gated_tables& p, const gated_tables& g, index_t t) {
        const table Bt = transposed(p.B), A = p.A;
        const table of_a = inverse_gram(A, 1e-8), of_b = inverse_gram(Bt, 1e-6);
        a[l].follow(transposed(g.A), Bt, of_b);
        b[l].follow(g.B, A, of_a);
        if (t % 2 == 0) {
          p.B = (1 - rate * decay) * p.B - rate * b[l].direction(A, of_a, t + 1, epsilon);
        } else {
          p.A =
              (1 - rate * decay) * A - rate * transposed(a[l].direction(Bt, of_b, t + 1, epsilon));
        }
      });
  std::vector<reference_soap> sa(2), sb(2);
  check(lora_by_soap{.optim = {.lr = rate,
                               .beta1 = 0.9,
                               .beta2 = 0.9,
                               .epsilon = epsilon,
                               .weight_decay = decay,
                               .frequency = 4,
                               .largest_side = 3}},
        [&](std::size_t l, gated_tables& p, const gated_tables& g, index_t t) {
          p.A = sa[l].step(p.A, g.A, t, rate, decay, 0.9, epsilon, 4);
          p.B = sb[l].step(p.B, g.B, t, rate, decay, 0.9, epsilon, 4);
        });
}

TEST_CASE("loft and soap in chains, with HRP, under masks, with gates, and resumed") {
  const optim::loft by_loft{.lr = 0.05};
  falls(with<cola, optim::loft>{.optim = by_loft, .chain = {.period = 10}});
  falls(with<hrp<>, optim::loft>{.init = {.steps = 4, .lr = 1e-2}, .optim = by_loft});
  falls(method<optim::masked<optim::loft>>{.optim = {.base = by_loft, .keep = 1}});
  const optim::soap by_soap{.lr = 0.05};
  falls(with<cola, optim::soap>{.optim = by_soap, .chain = {.period = 10}});
  falls(with<hrp<>, optim::soap>{.init = {.steps = 4, .lr = 1e-2}, .optim = by_soap});
  falls(method<optim::masked<optim::soap>>{.optim = {.base = by_soap, .keep = 1}});
  falls(with<kasa, optim::soap>{.optim = by_soap});

  const auto same_when_resumed = [](const auto& m) {
    fit_options options{.rank = 2, .steps = 12};
    training_state saved;
    options.checkpoint_every = 5;
    options.checkpoint = [&](const training_state& now) {
      saved = saved.entries.empty() ? now : saved;
    };
    scene one, two;
    const auto whole = fit(m, one.net, one.batches, options).losses;
    options.checkpoint = nullptr;
    options.resume = &saved;
    CHECK(fit(m, two.net, two.batches, options).losses == whole);
  };
  same_when_resumed(loft{.optim = by_loft});
  same_when_resumed(lora_by_soap{.optim = by_soap});
}
