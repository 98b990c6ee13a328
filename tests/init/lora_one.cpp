// LoRA-One: the start is the best rank-r part of −G, scaled, and lowers the loss. LoRA-SB: the
// start is the best rank-r part of −η·sign(G), its core diagonal. Degenerate gradients.
#include <preheat/adapter/xs.hpp>
#include <preheat/init/lora_one.hpp>
#include <preheat/init/lora_sb.hpp>
#include <preheat/init/sketched_gradient.hpp>

#include "support/gradient_problem.hpp"
#include "support/regressions.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// −η·sign(x), in plain words.
table signs(const table& G, double eta) {
  return mapped(G, [eta](double x) { return x > 0 ? -eta : (x < 0 ? eta : 0); });
}

// The factors of LoRA-SB from a gradient, by hand.
template <class Be>
factors<Be> sb_from(Be& be, const table& G, index_t rank, double eta, double s) {
  const mat<Be> W = be.zeros(G.rows, G.cols);
  return init::lora_sb{}(be, gradient_site<Be>(W, rank, s), matrix(be, signs(G, eta)));
}

}  // namespace

// B·A = (−G)_r/(γ·S₀), shared evenly.
TEST_CASE_TEMPLATE("lora_one: the product is the best rank-r part of -G, scaled", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(8, 0.7);
  for (const auto& [m, n] : {std::pair<index_t, index_t>{11, 8}, {8, 11}}) {
    const table G = 3.0 * with_spectrum(m, n, sigma, 600);  // S₀ = 3
    auto net = with_gradient(be, G);
    for (const index_t r : {1, 4, 8}) {
      const factors<Be> f = started(init::lora_one<>{.gamma = 20}, net, r);
      const table A = read<Be>(be, f.A);
      const table B = read<Be>(be, f.B);
      const table rest = G + (20.0 * 3.0) * B * A;
      CHECK(std::abs(square_norm(rest) - 9 * tail(sigma, r)) < tolerance<Be>(64));
      std::vector<double> even(sigma.begin(), sigma.begin() + r);
      for (double& x : even) {
        x /= 20;
      }
      CHECK(gap(A * transposed(A), diagonal(even)) < tolerance<Be>(1));
      CHECK(gap(transposed(B) * B, diagonal(even)) < tolerance<Be>(1));
    }
    // γ is 128 unless it is given.
    const factors<Be> f = started(init::lora_one<>{}, net, 1);
    CHECK(square_norm(read<Be>(be, f.A)) == doctest::Approx(1.0 / 128).epsilon(1e-4));
  }
}

TEST_CASE_TEMPLATE("lora_one: the start moves the output downhill and leaves W alone", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task(0);  // every batch is the whole set
  toy_task<Be> untouched(0);
  const double before = task.base_loss();
  const table output = task.base_output();
  const method<init::lora_one<>> m{.init = {.gradient = {.batches = 2}}};
  auto run = start_run(m, task.net, task.data, {.rank = 2, .steps = 9});
  CHECK(run.steps_planned() == 7);
  CHECK(double(task.net.loss(task.all, run.adapters)) < before - 1e-3);
  CHECK(gap(read<Be>(task.be, task.net.forward(task.all.X, run.adapters)), output) > 1e-3);
  CHECK(task.weights_are_those_of(untouched));
  const auto report = run.run_to_end();
  CHECK(report.calibration_steps == 2);
  CHECK(report.steps == 7);
}

// What would start with both factors at nothing could never move: it keeps a direction in A.
TEST_CASE_TEMPLATE("lora_one: directions beyond the gradient's rank start like LoRA", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto check = [&](const auto& init, const table& G, index_t live) {
    auto net = with_gradient(be, G);
    const factors<Be> f = started(init, net, 3);
    const table A = transposed(read<Be>(be, f.A));  // one column per direction
    const table B = read<Be>(be, f.B);
    for (index_t i = 0; i < 3; ++i) {
      const double norm = square_norm(columns(A, i, 1));
      CHECK((square_norm(columns(B, i, 1)) > 0) == (i < live));
      if (i >= live) {
        CHECK(norm == doctest::Approx(1.0 / 128).epsilon(1e-4));
      }
      for (index_t j = 0; j < i; ++j) {
        CHECK(std::abs(dot(columns(A, i, 1), columns(A, j, 1))) < tolerance<Be>(1));
      }
    }
    return transposed(A);
  };
  const table one = with_spectrum(9, 7, {1.0}, 610);
  check(init::lora_one<>{}, one, 1);
  check(init::lora_one<init::sketched_gradient>{}, one, 1);
  check(init::lora_one<>{}, table(9, 7), 0);
  check(init::lora_one<init::sketched_gradient>{}, table(9, 7), 0);
}

// s·B·R·A = D_r: singular vectors of D, with its largest singular values.
TEST_CASE_TEMPLATE("lora_sb: the start is the best rank-r part of -eta*sign(G)", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const double eta = 0.25;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{10, 7}, {7, 10}}) {
    const table G = random_table(m, n, 620);
    const table D = signs(G, eta);
    const table all = read<Be>(be, be.svd(matrix(be, D)).S);
    for (const double s : {1.0, 4.0}) {
      const index_t r = 3;
      const factors<Be> f = sb_from(be, G, r, eta, s);
      const table A = read<Be>(be, f.A);
      const table B = read<Be>(be, f.B);
      const table R = read<Be>(be, f.R);
      CHECK(orthonormality_gap(B) < tolerance<Be>(4));
      CHECK(orthonormality_gap(transposed(A)) < tolerance<Be>(4));
      std::vector<double> head(all.values.begin(), all.values.begin() + r);
      CHECK(gap(s * R, diagonal(head)) < tolerance<Be>(4));
      CHECK(gap(transposed(B) * D, s * R * A) < tolerance<Be>(8));
      CHECK(gap(D * transposed(A), s * B * R) < tolerance<Be>(8));
      const double rest = square_norm(D) - square_norm(s * R);
      CHECK(std::abs(square_norm(D - s * B * R * A) - rest) < tolerance<Be>(16));
    }
  }
  // Signs of an outer product: D has one singular value, η·√(m·n), and one entry is exactly zero.
  const table u = random_table(6, 1, 621);
  const table v = random_table(5, 1, 622);
  const factors<Be> f = sb_from(be, u * transposed(v), 1, eta, 1);
  CHECK(read<Be>(be, f.R)(0, 0) == doctest::Approx(eta * std::sqrt(30.0)).epsilon(1e-5));
  CHECK(gap(read<Be>(be, f.B) * read<Be>(be, f.R) * read<Be>(be, f.A),
            signs(u * transposed(v), eta)) < tolerance<Be>(4));
}

TEST_CASE_TEMPLATE("lora_sb: the calibration is the sign of the gradient summed over the batches",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  const regression_data data({{7, 5}, {4, 9}});
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches;
  const fit_options options;
  auto context = scene_of(net, batches, options, 2);
  const init::lora_sb given{.batches = 3, .eta = 0.5};
  const init::lora_sb automatic{.batches = 3};  // the main rate, 0.01
  const std::vector<mat<Be>> half = given.calibrate(context);
  const std::vector<mat<Be>> rate = automatic.calibrate(context);
  for (std::size_t l = 0; l < 2; ++l) {
    const table& W = data.layers[l].W;
    table sum(W.rows, W.cols);
    for (index_t k = 0; k < 3; ++k) {
      sum = sum + data.gradient(l, W, regression_data::batch(k));
    }
    CHECK(same(read<Be>(be, half[l]), signs(sum, 0.5)));
    CHECK(gap(read<Be>(be, rate[l]), signs(sum, 0.01)) < epsilon<Be>);
  }
  CHECK(given.calibration_steps(100) == 3);
  const init::lora_sb still{.eta = 0.0};
  CHECK_THROWS_AS(still.calibrate(context), invalid_argument);
}

TEST_CASE_TEMPLATE("lora_sb: zero gradients, NaN and wrong shapes", Be, PREHEAT_BACKENDS) {
  Be be;
  const factors<Be> f = sb_from(be, table(8, 6), 3, 0.1, 1);
  CHECK(largest(read<Be>(be, f.R)) == 0);
  CHECK(orthonormality_gap(read<Be>(be, f.B)) < tolerance<Be>(4));
  CHECK(orthonormality_gap(transposed(read<Be>(be, f.A))) < tolerance<Be>(4));
  // An entry of exactly zero asks for no step.
  table G = random_table(4, 4, 630);
  G(1, 2) = 0;
  auto net = with_gradient(be, G);
  auto data = net.batches();
  const fit_options options;
  auto context = scene_of(net, data, options, 2);
  const init::lora_sb given{.eta = 0.5};
  CHECK(same(read<Be>(be, given.calibrate(context)[0]), signs(G, 0.5)));

  table bad = random_table(8, 6, 631);
  bad(2, 2) = std::nan("");
  const mat<Be> W = be.zeros(8, 6);
  const init::lora_sb init;
  CHECK_THROWS_AS(init(be, gradient_site<Be>(W, 2), matrix(be, bad)), invalid_argument);
  CHECK_THROWS_AS(init(be, gradient_site<Be>(W, 7), matrix(be, random_table(8, 6, 1))),
                  invalid_argument);
  CHECK_THROWS_AS(init(be, gradient_site<Be>(W, 2), matrix(be, random_table(6, 8, 1))),
                  invalid_argument);
  CHECK_THROWS_AS(init(be, gradient_site<Be>(W, 2, 0), matrix(be, random_table(8, 6, 1))),
                  invalid_argument);
}

// With adapter::xs the start is s·B·R·A = D_r whatever s is; then only the core moves.
TEST_CASE_TEMPLATE("lora_sb: a run with adapter::xs starts at the step and trains its core", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> task(0);  // every batch is the whole set
  toy_task<Be> untouched(0);
  const double before = task.base_loss();
  const method<adapter::xs, init::lora_sb> m{.init = {.batches = 2, .eta = 1e-3},
                                             .optim = {.lr = 1e-3}};
  auto run = start_run(m, task.net, task.data, {.rank = 2, .steps = 12});
  CHECK(double(task.net.loss(task.all, run.adapters)) < before);
  const fit_options options;
  auto context = scene_of(untouched.net, untouched.data, options, 2);
  const std::vector<mat<Be>> D = m.init.calibrate(context);
  std::vector<table> frozen;
  for (std::size_t l = 0; l < 3; ++l) {
    const auto& adapted_layer = run.adapters.layers()[l];
    const table B = read<Be>(task.be, adapted_layer.parameters.B);
    const table A = read<Be>(task.be, adapted_layer.parameters.A);
    const table product =
        double(adapted_layer.scaling) * B * read<Be>(task.be, adapted_layer.parameters.R) * A;
    const table d = read<Be>(task.be, D[l]);
    CHECK(gap(product, B * transposed(B) * d) < tolerance<Be>(1));
    CHECK(gap(product, d * transposed(A) * A) < tolerance<Be>(1));
    frozen.push_back(B);
  }
  const auto report = run.run_to_end();
  CHECK(report.steps == 10);
  CHECK(report.trainable_parameters == 3 * 2 * 2);
  CHECK(report.losses.back() < report.losses.front());
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(same(read<Be>(task.be, report.layers[l].parameters.B), frozen[l]));
  }
  CHECK(task.weights_are_those_of(untouched));
}

TEST_CASE("lora_sb: an adapter without a core refuses it") {
  using Be = cpu_double;
  toy_task<Be> task;
  CHECK_THROWS_WITH_AS(fit(method<init::lora_sb>{}, task.net, task.data, {.rank = 2, .steps = 20}),
                       "preheat: this init gives a core R between B and A: use adapter::xs",
                       invalid_argument);
}

TEST_CASE("lora_one: misuse is refused in words") {
  using Be = cpu_double;
  Be be;
  auto net = with_gradient(be, with_spectrum(9, 7, geometric(7, 0.6), 640));
  CHECK_THROWS_AS(started(init::lora_one<>{.gamma = 0}, net, 2), invalid_argument);
  CHECK_THROWS_AS(started(init::lora_one<>{}, net, 8), invalid_argument);
  const mat<Be>& W = net.layers()[0].W;
  svd_result<mat<Be>> bad = linalg::truncated_svd<Be>(be, W, 3);
  CHECK_THROWS_AS(init::lora_one<>{}(be, gradient_site<Be>(W, 4), bad), invalid_argument);
  be.fill(std::nan(""), view(bad.S));
  CHECK_THROWS_AS(init::lora_one<>{}(be, gradient_site<Be>(W, 3), bad), invalid_argument);
}
