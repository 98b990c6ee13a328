// The mean gradient that inits gather, and LoRA-GA: which singular triplets each direction takes,
// the scales of both forms, W absorbs the product, and degenerate gradients.
#include <preheat/init/lora_ga.hpp>
#include <preheat/init/sketched_gradient.hpp>

#include "support/gradient_problem.hpp"
#include "support/linear_network.hpp"
#include "support/regressions.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using direction = init::lora_ga_direction;
using scale = init::lora_ga_scale;
using form = init::lora_ga_form;

constexpr direction directions[] = {direction::ArBr, direction::A2rBr, direction::ArB2r};
constexpr scale scales[] = {scale::stable, scale::weight_svd, scale::gd_scale, scale::unit};

// Batches in order, whatever the stream.
template <class Be>
struct listed_batches {
  std::vector<const typename linear_network<Be>::batch_type*> list;
  void load(const generator&, index_t step, typename linear_network<Be>::batch_type& batch) const {
    Be be;
    const auto& from = *list.at(std::size_t(step));
    batch = {clone<Be>(be, from.X), clone<Be>(be, from.C)};
  }
};

// Σ over the chosen triplets of σ_i²
double energy(const std::vector<double>& sigma, index_t first, index_t stride, index_t count) {
  double sum = 0;
  for (index_t k = 0; k < count; ++k) {
    const double x = sigma[first + k * stride];
    sum += x * x;
  }
  return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("gradient calibration: the mean over the batches, layer by layer", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const regression_data data({{7, 5}, {4, 9}});
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches;
  const fit_options options;
  auto context = scene_of(net, batches, options, 2);
  const std::vector<mat<Be>> G = init::mean_gradients(context, 3);
  for (std::size_t l = 0; l < 2; ++l) {
    table mean(data.layers[l].W.rows, data.layers[l].W.cols);
    for (index_t k = 0; k < 3; ++k) {
      mean = mean + (1.0 / 3) * data.gradient(l, data.layers[l].W, regression_data::batch(k));
    }
    CHECK(gap(read<Be>(be, G[l]), mean) < tolerance<Be>(16));
  }
  context.targets = {1};
  const std::vector<mat<Be>> one = init::mean_gradients(context, 3);
  CHECK(one[0].rows() == 0);
  CHECK(same(read<Be>(be, one[1]), read<Be>(be, G[1])));
  CHECK_THROWS_AS(init::mean_gradients(context, 0), invalid_argument);
}

// loss = ⟨C, W·W·X⟩: the gradient is C·(W·X)ᵀ + Wᵀ·C·Xᵀ.
TEST_CASE_TEMPLATE("gradient calibration: every use of a shared layer counts", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  std::vector<base_layer<Be>> layers;
  layers.push_back(random_layer(be, "shared", 6, 6, false, 501));
  linear_network<Be> net(be, std::move(layers), {0, 0});
  const table W = random_table(6, 6, 501);
  const table X = random_table(6, 4, 502);
  const table C = random_table(6, 4, 503);
  const typename linear_network<Be>::batch_type batch{matrix(be, X), matrix(be, C)};
  const listed_batches<Be> data{{&batch}};
  const fit_options options;
  auto context = scene_of(net, data, options, 2);
  const table G = read<Be>(be, init::mean_gradients(context, 1)[0]);
  CHECK(gap(G, C * transposed(W * X) + transposed(W) * C * transposed(X)) < tolerance<Be>(36));
}

// Without S and scale the factors are 2r different singular vectors, so the first step along both,
// B·Bᵀ·G + G·Aᵀ·A, is the best approximation of G of rank 2r.
TEST_CASE_TEMPLATE("lora_ga: each direction takes its triplets and the step is the best of rank 2r",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t r = 3;
  const std::vector<double> sigma = geometric(8, 0.7);
  for (const auto& [m, n] : {std::pair<index_t, index_t>{11, 8}, {8, 11}}) {
    const table G = with_spectrum(m, n, sigma, 510);
    auto net = with_gradient(be, G);
    for (const direction d : directions) {
      const init::lora_ga<> init{.direction = d, .scale = scale::unit, .form = form::authors};
      const factors<Be> f = started(init, net, r);
      const table A = read<Be>(be, f.A);
      const table B = read<Be>(be, f.B);
      CHECK(orthonormality_gap(transposed(A)) < tolerance<Be>(4));
      CHECK(orthonormality_gap(B) < tolerance<Be>(4));
      const table step = B * transposed(B) * G + G * transposed(A) * A;
      CHECK(std::abs(square_norm(G - step) - tail(sigma, 2 * r)) < tolerance<Be>(8));
      const bool alternate = d == direction::ArBr;
      const index_t first_a = alternate ? 1 : (d == direction::ArB2r ? 0 : r);
      const index_t first_b = alternate ? 0 : (d == direction::ArB2r ? r : 0);
      const index_t stride = alternate ? 2 : 1;
      CHECK(std::abs(square_norm(G * transposed(A)) - energy(sigma, first_a, stride, r)) <
            tolerance<Be>(8));
      CHECK(std::abs(square_norm(transposed(B) * G) - energy(sigma, first_b, stride, r)) <
            tolerance<Be>(8));
    }
  }
}

// In PEFT's form B carries the singular values: Bᵀ·B = b²·S_B², A·Aᵀ = a²·I.
TEST_CASE_TEMPLATE("lora_ga: the scales of PEFT's form and of the authors'", Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t r = 2;
  const double s = 2;
  const std::vector<double> sigma = geometric(7, 0.6);
  auto net = with_gradient(be, with_spectrum(9, 7, sigma, 520));
  const double norm_of_w = double(be.max_abs(be.svd(net.layers()[0].W).S));
  const double root = std::pow(9.0, 0.25) / std::sqrt(5.0);
  const auto check = [&](const init::lora_ga<>& init, double a, double b, bool with_values) {
    const factors<Be> f = started(init, net, r);
    const table A = read<Be>(be, f.A);
    const table B = read<Be>(be, f.B);
    std::vector<double> values;
    for (index_t i = 0; i < r; ++i) {  // ArB2r, the default
      const double value = with_values ? sigma[r + i] : 1;
      values.push_back(b * b * value * value);
    }
    CHECK(gap(A * transposed(A), a * a * identity(r)) < tolerance<Be>(4));
    CHECK(gap(transposed(B) * B, diagonal(values)) < tolerance<Be>(64));
  };
  check({.scale = scale::unit}, 1, 1, true);
  check({.scale = scale::gd_scale}, 1 / s, 1 / s, true);
  check({.scale = scale::stable, .stable_gamma = 5}, 1, root, true);
  check({.scale = scale::weight_svd, .weight = {.oversampling = 6}}, 1, norm_of_w / sigma[r], true);
  check({.scale = scale::unit, .form = form::authors}, 1, 1, false);
  check({.scale = scale::gd_scale, .form = form::authors}, 1 / s, 1 / s, false);
  check({.scale = scale::stable, .form = form::authors, .stable_gamma = 5}, root, root, false);
  check({}, 1, std::pow(9.0, 0.25) / 4, true);  // PEFT's defaults: stable, γ = 16
}

TEST_CASE_TEMPLATE("lora_ga: W absorbs s·B·A and the output does not move", Be, PREHEAT_BACKENDS) {
  toy_task<Be> original;
  const std::vector<table> before = original.weights();
  for (const direction d : directions) {
    for (const scale c : scales) {
      toy_task<Be> task;
      const table output = task.base_output();
      const method<init::lora_ga<>> m{
          .init = {.gradient = {.batches = 2}, .direction = d, .scale = c}};
      auto run = start_run(m, task.net, task.data, {.rank = 2, .steps = 6});
      CHECK(run.steps_planned() == 4);  // two batches of gradients are charged
      const std::vector<table> base = task.weights();
      for (std::size_t l = 0; l < 3; ++l) {
        const auto& adapted_layer = run.adapters.layers()[l];
        const table product = double(adapted_layer.scaling) *
                              read<Be>(task.be, adapted_layer.parameters.B) *
                              read<Be>(task.be, adapted_layer.parameters.A);
        CHECK(gap(base[2 * l] + product, before[2 * l]) < tolerance<Be>(4));
        CHECK(largest(product) > 1e-3);
      }
      const table moved = read<Be>(task.be, task.net.forward(task.all.X, run.adapters));
      CHECK(gap(moved, output) < tolerance<Be>(64));
    }
  }
}

TEST_CASE_TEMPLATE("lora_ga: a zero gradient gives random directions and product zero", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto net = with_gradient(be, table(9, 7));
  const auto check = [&](const auto& init) {
    const table A = read<Be>(be, started(init, net, 2, 1).A);
    CHECK(orthonormality_gap(transposed(A)) < tolerance<Be>(4));
    CHECK(largest(read<Be>(be, started(init, net, 2, 1).B)) == 0);
    CHECK(same(A, read<Be>(be, started(init, net, 2, 1).A)));
    CHECK(gap(A, read<Be>(be, started(init, net, 2, 2).A)) > 0.01);
  };
  for (const scale c : {scale::stable, scale::weight_svd, scale::unit}) {
    check(init::lora_ga<>{.scale = c});
    check(init::lora_ga<init::sketched_gradient>{.scale = c});
  }
  // As many tokens as r: the later triplets are rounding, and nothing is divided by it.
  auto poor = with_gradient(be, with_spectrum(9, 7, geometric(2, 0.5), 530));
  const factors<Be> f = started(init::lora_ga<>{.scale = scale::weight_svd}, poor, 2);
  CHECK(largest(read<Be>(be, f.B)) == 0);
  CHECK(orthonormality_gap(transposed(read<Be>(be, f.A))) < tolerance<Be>(4));
}

TEST_CASE("lora_ga: misuse is refused in words, divergence is a status") {
  using Be = cpu_double;
  Be be;
  auto net = with_gradient(be, with_spectrum(9, 7, geometric(7, 0.6), 540));
  const init::lora_ga<> init;
  CHECK_THROWS_WITH_AS(started(init, net, 4),
                       "preheat: init::lora_ga: 2·rank <= min(out, in) for layer 'weight' (8, 7)",
                       invalid_argument);
  CHECK_THROWS_AS(started(init::lora_ga<>{.stable_gamma = 0}, net, 2), invalid_argument);
  const init::lora_ga<> mixed{.scale = scale::weight_svd, .form = form::authors};
  CHECK_THROWS_AS(started(mixed, net, 2), invalid_argument);
  // By hand: too few triplets, another layer's gradient, NaN.
  const mat<Be>& W = net.layers()[0].W;
  const target_layer<Be> where = gradient_site<Be>(W, 3);
  CHECK_THROWS_WITH_AS(init(be, where, linalg::truncated_svd<Be>(be, W, 5)),
                       "preheat: init::lora_ga: triplets needed <= triplets of the gradient (6, 5)",
                       invalid_argument);
  CHECK_NOTHROW(init(be, where, linalg::truncated_svd<Be>(be, W, 6)));
  const mat<Be> other = matrix(be, random_table(9, 8, 541));
  CHECK_THROWS_AS(init(be, where, linalg::truncated_svd<Be>(be, other, 6)), invalid_argument);
  svd_result<mat<Be>> bad = linalg::truncated_svd<Be>(be, W, 6);
  be.fill(std::nan(""), view(bad.V).col_range(0, 1));
  CHECK_THROWS_AS(init(be, where, bad), invalid_argument);
}

// W = 0, so the loss is a finite 0 while the gradient C·Xᵀ overflows.
TEST_CASE("lora_ga: a gradient that is not finite ends the run with a status") {
  using Be = cpu_double;
  Be be;
  const typename linear_network<Be>::batch_type batch{matrix(be, 1e200 * random_table(6, 4, 550)),
                                                      matrix(be, 1e200 * random_table(5, 4, 551))};
  const listed_batches<Be> data{std::vector<decltype(&batch)>(20, &batch)};
  const auto status = [&](const auto& m) {
    std::vector<base_layer<Be>> layers;
    layers.push_back({"zero", be.zeros(5, 6), {}});
    linear_network<Be> net(be, std::move(layers), {0});
    const auto report = fit(m, net, data, {.rank = 2, .steps = 20});
    CHECK(report.steps == 0);
    return report.status;
  };
  CHECK(status(method<init::lora_ga<>>{}) == fit_status::non_finite);
  CHECK(status(method<init::lora_ga<init::sketched_gradient>>{}) == fit_status::non_finite);
}
