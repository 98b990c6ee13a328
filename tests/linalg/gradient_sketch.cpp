// Gradients that are never formed: the sketches are exact up to their rank and keep their papers'
// bounds beyond it, in mean over seeds; the inits that start from them do too; and in a run no
// matrix of a weight's size is made.
#include <preheat/init/lora_ga.hpp>
#include <preheat/init/lora_one.hpp>
#include <preheat/init/sketched_gradient.hpp>
#include <preheat/nn/minibatches.hpp>

#include "support/gradient_problem.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// The sketch of Σ w_b·dY_b·X_bᵀ, batch by batch, in as many passes as it takes.
struct batch {
  double weight;
  table dY, X;
};
table sum_of(const std::vector<batch>& batches) {
  table G(batches[0].dY.rows, batches[0].X.rows);
  for (const batch& b : batches) {
    G = G + b.weight * b.dY * transposed(b.X);
  }
  return G;
}
template <class Sketch, class Be>
factors<Be> sketched(Be& be, const std::vector<batch>& batches, index_t k, std::uint64_t seed) {
  Sketch sketch(be, batches[0].dY.rows, batches[0].X.rows, k, generator(seed));
  for (int pass = 0; pass < Sketch::passes; ++pass) {
    for (const batch& b : batches) {
      sketch.add(be, scalar_of<Be>(b.weight), matrix(be, b.dY), matrix(be, b.X));
    }
    sketch.end_pass(be);
  }
  return sketch.approximation(be);
}
// A gradient in one batch: dY = G, X = I.
std::vector<batch> whole(const table& G) {
  return {{1, G, identity(G.cols)}};
}

// The mean over seeds of f(seed).
template <class F>
double mean_over_seeds(F f) {
  constexpr int seeds = 60;
  double sum = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    sum += f(std::uint64_t(seed)) / seeds;
  }
  return sum;
}
// f(s, t) of Tropp et al., for real sketches
double tropp(double s, double t) {
  return s / (t - s - 1);
}
// Their bound of E‖G − Q·X‖² with l = 2k + 1.
double one_pass_bound(const std::vector<double>& sigma, index_t k) {
  double least = std::numeric_limits<double>::infinity();
  for (index_t r = 0; r < k - 1; ++r) {
    least = std::min(least, (1 + tropp(double(r), double(k))) * tail(sigma, r));
  }
  return (1 + tropp(double(k), double(2 * k + 1))) * least;
}

// ‖G − G·A⁺·A‖² for A with orthogonal rows: what the row space of A misses of G.
double missed(const table& G, table A) {
  for (index_t i = 0; i < A.rows; ++i) {
    double norm = 0;
    for (index_t j = 0; j < A.cols; ++j) {
      norm += A(i, j) * A(i, j);
    }
    for (index_t j = 0; j < A.cols; ++j) {
      A(i, j) /= std::sqrt(norm);
    }
  }
  return square_norm(G - G * transposed(A) * A);
}

}  // namespace

TEST_CASE_TEMPLATE("gradient sketch: exact for a gradient of rank <= k, in any number of batches",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{13, 9}, {9, 13}}) {
    const std::vector<batch> batches{{0.5, random_table(m, 2, 700), random_table(n, 2, 701)},
                                     {0.25, random_table(m, 1, 702), random_table(n, 1, 703)}};
    const table G = sum_of(batches);
    for (const index_t k : {3, 5, 9}) {
      const factors<Be> two = sketched<linalg::two_pass_sketch<Be>>(be, batches, k, 7);
      const factors<Be> one = sketched<linalg::one_pass_sketch<Be>>(be, batches, k, 7);
      CHECK(two.B.cols() == k);
      CHECK(orthonormality_gap(read<Be>(be, two.B)) < tolerance<Be>(4));
      CHECK(gap(read<Be>(be, two.B) * read<Be>(be, two.A), G) < tolerance<Be>(32));
      CHECK(orthonormality_gap(read<Be>(be, one.B)) < tolerance<Be>(4));
      CHECK(gap(read<Be>(be, one.B) * read<Be>(be, one.A), G) < 8 * tolerance<Be>(32));
    }
  }
  CHECK_THROWS_AS(linalg::two_pass_sketch<Be>(be, 9, 5, 6, generator(1)), invalid_argument);
  CHECK_THROWS_AS(linalg::one_pass_sketch<Be>(be, 9, 5, 0, generator(1)), invalid_argument);
}

// Halko, Martinsson, Tropp 2011, theorem 10.5.
TEST_CASE_TEMPLATE("gradient sketch: two passes are a projection and keep their bound", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(14, 0.6);
  const table G = with_spectrum(18, 14, sigma, 710);
  const index_t r = 3;
  const index_t p = 3;
  const double mean = mean_over_seeds([&](std::uint64_t seed) {
    const factors<Be> f = sketched<linalg::two_pass_sketch<Be>>(be, whole(G), r + p, seed);
    const table Q = read<Be>(be, f.B);
    CHECK(gap(read<Be>(be, f.A), transposed(Q) * G) < tolerance<Be>(8));
    return std::sqrt(square_norm(G - Q * read<Be>(be, f.A)));
  });
  CHECK(mean < std::sqrt((1 + double(r) / (p - 1)) * tail(sigma, r)));
  CHECK(mean > std::sqrt(tail(sigma, r + p)));  // no rank r + p does better
}

// Tropp, Yurtsever, Udell, Cevher 2017, theorem 4.3.
TEST_CASE_TEMPLATE("gradient sketch: one pass keeps its bound", Be, PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(14, 0.6);
  const table G = with_spectrum(18, 14, sigma, 720);
  const index_t k = 6;
  const double mean = mean_over_seeds([&](std::uint64_t seed) {
    const factors<Be> f = sketched<linalg::one_pass_sketch<Be>>(be, whole(G), k, seed);
    return square_norm(G - read<Be>(be, f.B) * read<Be>(be, f.A));
  });
  CHECK(mean < one_pass_bound(sigma, k));
  CHECK(mean > tail(sigma, k));
}

// The rows of A span what the sketch found of the first r right vectors.
TEST_CASE("gradient sketch: the inits find the exact directions within the stated bounds") {
  using Be = cpu_double;
  Be be;
  const std::vector<double> sigma = geometric(14, 0.6);
  const table G = with_spectrum(18, 14, sigma, 730);
  auto net = with_gradient(be, G);
  const index_t r = 2;
  const index_t p = 3;
  const auto mean_missed = [&](const auto& init) {
    return mean_over_seeds(
        [&](std::uint64_t seed) { return missed(G, read<Be>(be, started(init, net, r, seed).A)); });
  };
  // k = triplets + p: LoRA-GA asks for 2r triplets and puts the first r into A, LoRA-One for r.
  const init::sketched_gradient two{.batches = 1, .oversampling = p};
  const init::sketched_gradient one{.batches = 1, .passes = 1, .oversampling = p};
  const double exact = tail(sigma, r);
  const double of_ga = mean_missed(init::lora_ga<init::sketched_gradient>{.gradient = two});
  const double of_one = mean_missed(init::lora_one<init::sketched_gradient>{.gradient = two});
  CHECK(of_ga < (2 + double(r) / (r + p - 1)) * exact);
  CHECK(of_one < (2 + double(r) / (p - 1)) * exact);
  CHECK(of_ga >= exact * (1 - 1e-12));
  CHECK(of_one > exact);
  const auto one_pass_error = [&](index_t k) {
    const double error = 2 * std::sqrt(one_pass_bound(sigma, k)) + std::sqrt(exact);
    return error * error;
  };
  CHECK(mean_missed(init::lora_ga<init::sketched_gradient>{.gradient = one}) <
        one_pass_error(2 * r + p));
  CHECK(mean_missed(init::lora_one<init::sketched_gradient>{.gradient = one}) <
        one_pass_error(r + p));
}

// With k = min(m, n) nothing is lost.
TEST_CASE_TEMPLATE("gradient sketch: a full sketch starts as the dense gradient does", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{11, 8}, {8, 11}}) {
    auto net = with_gradient(be, with_spectrum(m, n, geometric(8, 0.6), 740));
    const factors<Be> exact = started(init::lora_one<>{}, net, 3);
    const table product = read<Be>(be, exact.B) * read<Be>(be, exact.A);
    for (const index_t passes : {1, 2}) {
      const init::lora_one<init::sketched_gradient> init{
          .gradient = {.batches = 3, .passes = passes, .oversampling = 30}};
      const factors<Be> f = started(init, net, 3);
      CHECK(gap(read<Be>(be, f.B) * read<Be>(be, f.A), product) < tolerance<Be>(8));
    }
  }
}

namespace {

// No sketch, core or activation has the shape of a weight: k is 7, l is 15, batches have 9 tokens.
template <class Be>
struct recorded_task {
  Be be;
  nn::mlp<Be> net{be, {24, 40, 30, 20}, 750};
  nn::minibatches<Be> data{be, matrix(be, random_table(24, 36, 751)), be.zeros(1, 36), 9};
};

}  // namespace

TEST_CASE("gradient sketch: no matrix of a weight's size is made in gathering or starting") {
  using Be = archetype_double;
  const auto formed = [](const Be& be) {
    return be.made(40, 24) || be.made(30, 40) || be.made(20, 30) || be.made(40, 40) ||
           be.made(30, 30) || be.made(24, 24) || be.made(20, 20);
  };
  const auto start_with = [&](const auto& m) {
    recorded_task<Be> task;
    CHECK(formed(task.be));  // the weights themselves: the record works
    task.be.forget();
    const auto report = fit(m, task.net, task.data, {.rank = 2, .steps = 12});
    CHECK(report.status == fit_status::completed);
    CHECK(report.calibration_steps == m.init.gradient.calibration_steps());
    return formed(task.be);
  };
  for (const index_t passes : {1, 2}) {
    const init::sketched_gradient sketch{.batches = 3, .passes = passes, .oversampling = 3};
    for (const auto scale : {init::lora_ga_scale::stable, init::lora_ga_scale::weight_svd}) {
      CHECK_FALSE(start_with(method<init::lora_ga<init::sketched_gradient>>{
          .init = {.gradient = sketch, .scale = scale}}));
    }
    CHECK_FALSE(
        start_with(method<init::lora_one<init::sketched_gradient>>{.init = {.gradient = sketch}}));
  }
  CHECK(start_with(method<init::lora_ga<>>{}));  // the dense gradient, to compare
}

TEST_CASE("gradient sketch: passes are charged, a seed repeats its run, misuse is refused") {
  using Be = cpu_double;
  const auto losses = [](const init::sketched_gradient& sketch, std::uint64_t seed) {
    recorded_task<Be> task;
    const method<init::lora_one<init::sketched_gradient>> m{.init = {.gradient = sketch}};
    const auto report = fit(m, task.net, task.data, {.rank = 2, .steps = 10, .seed = seed});
    CHECK(report.calibration_steps == sketch.batches * sketch.passes);
    CHECK(report.steps == 10 - report.calibration_steps);
    return report.losses;
  };
  const init::sketched_gradient two{.batches = 3};
  const init::sketched_gradient one{.batches = 3, .passes = 1, .oversampling = 1};
  CHECK(losses(two, 5) == losses(two, 5));
  CHECK(losses(two, 5) != losses(two, 6));
  CHECK(losses(one, 5) == losses(one, 5));
  CHECK_THROWS_AS(losses({.batches = 2, .passes = 3}, 5), invalid_argument);
  CHECK_THROWS_AS(losses({.batches = 0}, 5), invalid_argument);
  CHECK_THROWS_AS(losses({.batches = 2, .oversampling = -1}, 5), invalid_argument);
  CHECK_THROWS_AS(losses({.batches = 5}, 5), invalid_argument);  // as many steps as the run

  Be be;
  auto wild = with_gradient(be, table(9, 7));
  be.fill(std::nan(""), wild.layers()[0].W);
  auto data = wild.batches();
  const auto report =
      fit(method<init::lora_one<init::sketched_gradient>>{}, wild, data, {.rank = 2, .steps = 20});
  CHECK(report.status == fit_status::non_finite);
}
