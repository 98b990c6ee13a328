// LoRA-Null, LoRA-DA and GoRA: what they gather, what their factors are, and whole runs.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/dense.hpp"
#include "support/gradient_problem.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
struct scene {
  regression_data data{{{9, 7}, {6, 8}}};
  Be be{};
  regressions<Be> net{be, data};
  typename regressions<Be>::batches batches{};
  fit_options options{};

  // What an init learns here from its batches, and the ranks that it leaves.
  template <class Init>
  auto learned(const Init& init, std::vector<index_t>* ranks = nullptr) {
    auto context = scene_of(net, batches, options, 3);
    auto all = init.calibrate(context);
    if (ranks != nullptr) {
      *ranks = context.ranks;
    }
    return all;
  }
};

table mean_gradient(const regression_data& data, std::size_t l, index_t batches) {
  table G(data.layers[l].W.rows, data.layers[l].W.cols);
  for (index_t k = 0; k < batches; ++k) {
    G = G + (1.0 / double(batches)) * data.gradient(l, data.layers[l].W, regression_data::batch(k));
  }
  return G;
}

// The sum of the r least eigenvalues, by the library's solver on the reference's numbers.
double least_eigenvalues(const table& C, index_t r) {
  cpu_double be;
  const table values = read<cpu_double>(be, be.eigh(matrix(be, C)).values);
  double sum = 0;
  for (index_t i = 0; i < r; ++i) {
    sum += values(i, 0);
  }
  return sum;
}
double trace(const table& C) {
  return dot(C, identity(C.rows));
}

}  // namespace

TEST_CASE_TEMPLATE("lora_null: what acts on the null space of the inputs, and only that", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n, r] : {std::tuple<index_t, index_t, index_t>{9, 6, 2}, {5, 8, 3}}) {
    const table W = random_table(m, n, 900), X = random_table(n, n - r, 901);
    const mat<Be> base = matrix(be, W);
    const factors<Be> f =
        init::lora_null{}(be, {.W = base, .rank = r, .scaling = 2}, matrix(be, X * transposed(X)));
    const table A = read<Be>(be, f.A), B = read<Be>(be, f.B);
    const double tol = tolerance<Be>(100);
    CHECK(gap(2.0 * (B * A), W * (identity(n) - projection(X))) < tol);
    CHECK(largest(A * X) < tol);
    CHECK(gap(A * transposed(A), transposed(B) * B) < tol);  // shared evenly
  }
  const mat<Be> W = be.zeros(5, 4);
  const auto refused = [&](index_t rank, const table& C) {
    CHECK_THROWS_AS(init::lora_null{}(be, target_layer<Be>{.W = W, .rank = rank}, matrix(be, C)),
                    invalid_argument);
  };
  refused(5, identity(4));
  refused(2, identity(5));
  refused(2, table(4, 4, std::nan("")));
}

TEST_CASE_TEMPLATE("lora_null: gathers covariances, leaves the output alone and learns", Be,
                   PREHEAT_BACKENDS) {
  scene<Be> s;
  const auto C = s.learned(init::lora_null{.batches = 3});
  CHECK(C.size() == 2);
  CHECK(gap(read<Be>(s.be, C[0]), read<Be>(s.be, s.learned(init::corda{.batches = 3})[0])) == 0);
  base_operator<Be> base(s.net);
  const auto all = regression_data::everything();
  const double before = double(s.net.loss(all, base));
  auto run = start_run(lora_null{.init = {.batches = 2}, .optim = {.lr = 0.02}}, s.net, s.batches,
                       {.rank = 2, .steps = 22});
  CHECK(std::abs(double(s.net.loss(all, run.adapters)) - before) < tolerance<Be>(20) * before);
  const auto report = run.run_to_end();
  CHECK(report.base_changed);
  CHECK(report.calibration_steps == 2);
  CHECK(report.losses[16] < report.losses[0]);
}

TEST_CASE_TEMPLATE("lora_da: the formula in plain loops, bias alone, and no gradient", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const index_t m = 6, n = 8, r = 3;
  const table W = random_table(m, n, 910), X = random_table(n, 20, 912);
  const mat<Be> base = matrix(be, W);
  const table Z = (1.0 / 20) * (X * transposed(X));
  const table y = mapped(random_table(m, 1, 913), [](double x) { return 0.5 + x * x; });
  const double damping = 0.01, gamma = 16, population = 10;
  for (const double beta : {0.0, 0.4}) {
    for (const bool zero : {false, true}) {
      CAPTURE(beta);
      const table G = zero ? table(m, n) : random_table(m, n, 911);
      const init::lora_da init{
          .variance = beta, .population = population, .gamma = gamma, .damping = damping};
      const factors<Be> f = init(be, {.W = base, .rank = r, .scaling = 2},
                                 {matrix(be, G), matrix(be, Z), matrix(be, y)});
      const table A = read<Be>(be, f.A), B = read<Be>(be, f.B);
      const table inverse_z = inverse(Z + damping * identity(n));
      const table inverse_y = mapped(y, [&](double x) { return 1 / (x + damping); });
      table D = -1.0 * (diagonal(inverse_y.values) * G * inverse_z);
      const double sigma = zero ? 1 : std::sqrt(-least_eigenvalues(-1.0 * (transposed(D) * D), 1));
      D = (1 / sigma) * D;
      const double uncertain = trace(diagonal(inverse_y.values)) / population;
      const table guidance =
          -1.0 * (transposed(D) * D) + (beta * uncertain / (sigma * sigma)) * inverse_z;
      const double tol = tolerance<Be>(300);
      CHECK(gap(gamma * (A * transposed(A)), identity(r)) < tol);
      CHECK(gap(B, D * transposed(A)) < tol);
      CHECK(std::abs(gamma * trace(A * guidance * transposed(A)) - least_eigenvalues(guidance, r)) <
            tol);
      CHECK((largest(B) == 0) == zero);
    }
  }
  const auto refused = [&](const init::lora_da& init, index_t rank, const table& G) {
    CHECK_THROWS_AS(init(be, target_layer<Be>{.W = base, .rank = rank},
                         {matrix(be, G), matrix(be, Z), matrix(be, y)}),
                    invalid_argument);
  };
  refused({}, 7, table(m, n));
  refused({}, 2, table(n, m));
  refused({.gamma = 0}, 2, table(m, n));
  refused({.damping = 0}, 2, table(m, n));
  refused({.variance = -1}, 2, table(m, n));
  refused({}, 2, table(m, n, std::nan("")));
}

TEST_CASE_TEMPLATE("lora_da: gathers the mean gradient and both Fisher factors, and learns", Be,
                   PREHEAT_BACKENDS) {
  scene<Be> s;
  const index_t batches = 3;
  const auto seen = s.learned(init::lora_da{.batches = batches});
  for (const std::size_t l : {0u, 1u}) {
    const auto& layer = s.data.layers[l];
    table Z(layer.X.rows, layer.X.rows), y(layer.W.rows, 1);
    for (index_t k = 0; k < batches; ++k) {
      const auto c = regression_data::batch(k);
      const table X = columns(layer.X, c.first, c.count);
      const table dY = (1.0 / double(c.count)) * s.data.residual(l, layer.W, c);
      const double share = 1.0 / double(batches * c.count);
      Z = Z + share * (X * transposed(X));
      for (index_t i = 0; i < y.rows; ++i) {
        y(i, 0) += share * square_norm(columns(transposed(dY), i, 1));
      }
    }
    const double tol = tolerance<Be>(30);
    CHECK(gap(read<Be>(s.be, seen[l].G), mean_gradient(s.data, l, batches)) < tol);
    CHECK(gap(read<Be>(s.be, seen[l].Z), Z) < tol);
    CHECK(gap(read<Be>(s.be, seen[l].y), y) < tol);
  }
  const auto report = fit(lora_da{.init = {.batches = 2}, .optim = {.lr = 0.05}}, s.net, s.batches,
                          {.rank = 2, .steps = 32});
  CHECK_FALSE(report.base_changed);
  CHECK(report.losses[28] < report.losses[0]);
}

TEST_CASE_TEMPLATE("gora: ranks by mean |W ⊙ G|, and a gradient step in a random row space", Be,
                   PREHEAT_BACKENDS) {
  scene<Be> s;
  const index_t batches = 4;
  const double eta = 0.1;
  std::vector<double> importance;
  double total = 0, budget = 0;
  for (const std::size_t l : {0u, 1u}) {
    const table G = mean_gradient(s.data, l, batches);
    const table& W = s.data.layers[l].W;
    double sum = 0;
    for (std::size_t i = 0; i < G.values.size(); ++i) {
      sum += std::abs(G.values[i] * W.values[i]);
    }
    importance.push_back(sum / double(G.values.size()));
    total += importance.back();
    budget += 3 * std::sqrt(double(W.rows + W.cols));
  }
  const auto wanted = [&](std::size_t l, double least, double most) {
    const table& W = s.data.layers[l].W;
    const double share = std::nearbyint(budget * importance[l] / total);
    const double r = std::floor(share / std::sqrt(double(W.rows + W.cols)));
    return index_t(std::clamp(r, least, most));
  };
  std::vector<index_t> ranks;
  const auto steps =
      s.learned(init::gora{.batches = batches, .eta = eta, .least = 0.34, .most = 4}, &ranks);
  CHECK(ranks == std::vector<index_t>{wanted(0, 1, 7), wanted(1, 1, 6)});
  s.learned(init::gora{.batches = batches, .least = 1, .most = 1}, &ranks);
  CHECK(ranks == std::vector<index_t>{3, 3});
  s.learned(init::gora{.batches = batches, .redistribute = false}, &ranks);
  CHECK(ranks == std::vector<index_t>{3, 3});
  // Without η it is the main run's rate, 0.01.
  const auto by_rate = s.learned(init::gora{.batches = batches});
  for (const std::size_t l : {0u, 1u}) {
    const table G = mean_gradient(s.data, l, batches);
    const double tol = tolerance<Be>(60);
    CHECK(gap(read<Be>(s.be, steps[l]), -eta * G) < tol);
    CHECK(gap(read<Be>(s.be, by_rate[l]), -0.01 * G) < tol);
    const mat<Be>& W = s.net.layers()[l].W;
    const factors<Be> f = init::gora{}(s.be, gradient_site<Be>(W, 3), steps[l]);
    const table A = read<Be>(s.be, f.A);
    const table H = transposed(A) * inverse(A * transposed(A) + 1e-8 * identity(3)) * A;
    CHECK(gap(2.0 * (read<Be>(s.be, f.B) * A), -eta * std::sqrt(double(A.cols) / 3) * (G * H)) <
          tol);
    CHECK(largest(A) <= 1 / std::sqrt(double(A.cols)) * (1 + epsilon<Be>));
  }
  const auto report = fit(gora{.init = {.batches = 2}, .optim = {.lr = 0.02}}, s.net, s.batches,
                          {.rank = 3, .steps = 32});
  CHECK_FALSE(report.base_changed);
  CHECK(report.losses[28] < report.losses[0]);
  CHECK_THROWS_AS(s.learned(init::gora{.eta = -1}), invalid_argument);
  CHECK_THROWS_AS(s.learned(init::gora{.least = 2, .most = 1}), invalid_argument);
}

TEST_CASE("lora_null, lora_da and gora in chains and under masks") {
  const auto falls = [&](const auto& m) {
    scene<cpu_double> s;
    const auto report = fit(m, s.net, s.batches, {.rank = 2, .steps = 44});
    CHECK(report.status == fit_status::completed);
    CHECK(*std::min_element(report.losses.end() - 4, report.losses.end()) < report.losses[0]);
  };
  falls(with<lora_null, chain::merge_every>{
      .init = {.batches = 2}, .optim = {.lr = 0.02}, .chain = {.period = 10}});
  falls(with<lora_da, chain::merge_every>{
      .init = {.batches = 2}, .optim = {.lr = 0.02}, .chain = {.period = 10}});
  falls(with<gora, chain::merge_every>{.init = {.batches = 2, .redistribute = false},
                                       .optim = {.lr = 0.02},
                                       .chain = {.period = 10}});
  falls(with<gora, optim::masked<>>{.init = {.batches = 2},
                                    .optim = {.base = {.lr = 0.02}, .keep = 1}});
}
