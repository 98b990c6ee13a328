// LoRA-XS: the output of the adapter by its formula, the gradient of the core and of the input by
// central differences, merging; the start from W's SVD, and training of the core alone.
#include <preheat/adapter/xs.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/init/xs.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/linear_network.hpp"
#include "support/spectrum.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using lora_xs = method<adapter::xs, init::xs>;

constexpr double scaling_value = 1.5;

// Random A, B and R of rank 2 in a layer.
template <class Be>
void attach_random(Be& be, adapted<Be, adapter::xs>& linear, index_t l, std::uint64_t seed) {
  const frozen_linear<Be> base = linear.base(l);
  factors<Be> f{matrix(be, random_table(2, base.W.cols(), seed)),
                matrix(be, random_table(base.W.rows(), 2, seed + 1)),
                matrix(be, random_table(2, 2, seed + 2))};
  linear.attach(l, linear.adapter().start(be, base, std::move(f), generator()),
                scalar_of<Be>(scaling_value));
}

// A network of linear layers of the given shapes (out, in), used in the given order on seven
// tokens.
template <class Be>
struct chain_problem {
  Be be;
  linear_network<Be> net;
  typename linear_network<Be>::batch_type batch;

  chain_problem(const std::vector<std::pair<index_t, index_t>>& shapes,
                const std::vector<index_t>& order, bool bias)
      : net(be, make_layers(be, shapes, bias), order),
        batch{matrix(be, random_table(shapes[order.front()].second, 7, 620)),
              matrix(be, random_table(shapes[order.back()].first, 7, 621))} {}

  static std::vector<base_layer<Be>> make_layers(
      Be& be, const std::vector<std::pair<index_t, index_t>>& shapes, bool bias) {
    std::vector<base_layer<Be>> layers;
    for (const auto& [m, n] : shapes) {
      layers.push_back(random_layer(be, "l", m, n, bias, 630 + layers.size()));
    }
    return layers;
  }
};

// The largest difference between a gradient and central differences in x; the loss is at most
// quadratic in an entry, so that any step is exact.
template <class Be, class Linear>
double difference_gap(chain_problem<Be>& p, Linear& linear, mat<Be>& x, const table& gradient) {
  const table start = read<Be>(p.be, x);
  table numeric(start.rows, start.cols);
  for (std::size_t i = 0; i < start.values.size(); ++i) {
    for (const double step : {0.5, -0.5}) {
      table moved = start;
      moved.values[i] += step;
      write(p.be, moved, view_of<Be>(x));
      numeric.values[i] += double(p.net.training_loss(p.batch, linear)) * 2 * step;
    }
  }
  write(p.be, start, view_of<Be>(x));
  return gap(numeric, gradient);
}

template <class Be>
void check_gradients(chain_problem<Be>& p, const std::vector<index_t>& attached, double rate) {
  CAPTURE(rate);
  adapted<Be, adapter::xs> linear(p.net);
  for (const index_t l : attached) {
    attach_random(p.be, linear, l, 600 + 10 * std::uint64_t(l));
  }
  linear.set_dropout(rate, generator(1));
  p.net.loss_and_gradient(p.batch, linear);
  const table input_gradient = p.net.input_gradient;
  const double size = std::sqrt(square_norm(p.net.output) * square_norm(read<Be>(p.be, p.batch.C)));
  const double tol = tolerance<Be>(1) * size;
  for (const index_t l : attached) {
    auto& adapted_layer = linear.layers()[l];
    const table gradient = read<Be>(p.be, adapted_layer.gradient.R);
    CHECK(largest(gradient) > 0);
    CHECK(adapted_layer.gradient.A.rows() == 0);  // frozen
    CHECK(adapted_layer.gradient.B.rows() == 0);
    CHECK(difference_gap(p, linear, adapted_layer.parameters.R, gradient) < tol);
  }
  CHECK(difference_gap(p, linear, p.batch.X, input_gradient) < tol);
}

}  // namespace

TEST_CASE_TEMPLATE("xs: gradients equal differences", Be, PREHEAT_BACKENDS) {
  for (const bool bias : {true, false}) {
    CAPTURE(bias);
    for (const double rate : {0.0, 0.4}) {
      chain_problem<Be> one({{5, 4}}, {0}, bias);
      check_gradients(one, {0}, rate);
      chain_problem<Be> three({{5, 4}, {6, 5}, {3, 6}}, {0, 1, 2}, bias);  // the middle one is bare
      check_gradients(three, {0, 2}, rate);
      chain_problem<Be> twice({{4, 4}}, {0, 0}, bias);  // used twice in a pass
      check_gradients(twice, {0}, rate);
    }
  }
}

TEST_CASE_TEMPLATE("xs: y = Wx + sBRAx + b, its product is that of lora, and it merges", Be,
                   PREHEAT_BACKENDS) {
  for (const bool bias : {true, false}) {
    chain_problem<Be> p({{5, 4}}, {0}, bias);
    const table w = read<Be>(p.be, p.net.layers()[0].W);
    const table b = bias ? read<Be>(p.be, p.net.layers()[0].b) : table(5, 1);
    adapted<Be, adapter::xs> linear(p.net);
    attach_random(p.be, linear, 0, 640);
    const auto& x = linear.layers()[0].parameters;
    CHECK(trained_size(x) == 4);
    CHECK(rank_of(linear.adapter(), p.be, x) == 2);
    const table delta =
        scaling_value * read<Be>(p.be, x.B) * read<Be>(p.be, x.R) * read<Be>(p.be, x.A);
    const table expected = (w + delta) * read<Be>(p.be, p.batch.X) + b * table(1, 7, 1);
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, expected) < tolerance<Be>(10) * largest(expected));

    const factors<Be> f = linear.adapter().product(p.be, x);
    CHECK(f.R.rows() == 0);
    CHECK(gap(scaling_value * read<Be>(p.be, f.B) * read<Be>(p.be, f.A), delta) <
          tolerance<Be>(4) * largest(delta));
    CHECK(same(read<Be>(p.be, f.B), read<Be>(p.be, x.B)));

    linear.merge(0);
    CHECK(gap(read<Be>(p.be, p.net.layers()[0].W), w + delta) < tolerance<Be>(4) * largest(delta));
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, expected) < tolerance<Be>(10) * largest(expected));
  }
}

TEST_CASE_TEMPLATE("xs: without a core R is the identity", Be, PREHEAT_BACKENDS) {
  Be be;
  const adapter::xs adapter{};
  const auto start = [&](const table& a, const table& b, const table& core) {
    factors<Be> f{matrix(be, a), matrix(be, b), matrix(be, core)};
    return adapter.start(be, frozen_linear<Be>{}, std::move(f), generator());
  };
  const table a = random_table(3, 7, 650);
  const table b = random_table(6, 3, 651);
  const auto p = start(a, b, table());
  CHECK(same(read<Be>(be, p.R), identity(3)));
  const factors<Be> f = adapter.product(be, p);
  CHECK(gap(read<Be>(be, f.A), read<Be>(be, p.A)) == 0);
  CHECK_NOTHROW(start(a, b, table(3, 3)));
  CHECK_THROWS_AS(start(a, b, table(2, 3)), invalid_argument);
  CHECK_THROWS_AS(start(a, b, table(3, 2)), invalid_argument);
  // A zero factor that is not trained, as init::kaiming leaves it.
  CHECK_THROWS_AS(start(a, table(6, 3), table()), invalid_argument);
  CHECK_THROWS_AS(start(table(3, 7), b, table()), invalid_argument);

  // PiSSA's factors, frozen, with the identity between: their product is subtracted from W, so the output is unchanged.
  toy_task<Be> task;
  const table before = task.base_output();
  method<adapter::xs, init::pissa> m{};
  m.optim.lr = 0;
  const auto report = fit(m, task.net, task.data, {.rank = 3, .steps = 1});
  CHECK(report.base_changed);
  CHECK(gap(task.adapted_output(report), before) < tolerance<Be>(13) * largest(before));
}

TEST_CASE_TEMPLATE("xs: A and B are W's best part of rank r, and the core is zero", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(10, 0.7);
  for (const auto& [m, n] : {std::pair<index_t, index_t>{14, 10}, {10, 14}}) {
    const table w = with_spectrum(m, n, sigma, 660);
    const mat<Be> W = matrix(be, w);
    for (const index_t r : {1, 4, 10}) {
      const target_layer<Be> where{.W = W, .rank = r, .scaling = 2, .gen = generator(3)};
      const factors<Be> f = init::xs{}(be, where);
      const table a = read<Be>(be, f.A);
      const table b = read<Be>(be, f.B);
      CHECK(orthonormality_gap(transposed(a)) < tolerance<Be>(4));
      std::vector<double> squares(sigma.begin(), sigma.begin() + r);
      for (double& x : squares) {
        x *= x;
      }
      CHECK(gap(transposed(b) * b, diagonal(squares)) < tolerance<Be>(4));
      CHECK(std::abs(square_norm(w - b * a) - tail(sigma, r)) < tolerance<Be>(4));
      CHECK(same(read<Be>(be, f.R), table(r, r)));
      CHECK_THROWS_AS(init::xs{.sigma = -1}(be, where), invalid_argument);
    }
    const target_layer<Be> too_many{.W = W, .rank = 11};
    CHECK_THROWS_AS(init::xs{}(be, too_many), invalid_argument);
  }
  const mat<Be> W = matrix(be, random_table(60, 50, 661));
  const target_layer<Be> where{.W = W, .rank = 40, .gen = generator(4)};
  const table core = read<Be>(be, init::xs{.sigma = 1e-3}(be, where).R);
  CHECK(square_norm(core) / 1600 == doctest::Approx(1e-6).epsilon(0.15));
  const mat<Be> zero = be.zeros(6, 5);
  const factors<Be> nothing = init::xs{}(be, target_layer<Be>{.W = zero, .rank = 2});
  CHECK(same(read<Be>(be, nothing.B), table(6, 2)));
  CHECK(orthonormality_gap(transposed(read<Be>(be, nothing.A))) < tolerance<Be>(2));
}

TEST_CASE_TEMPLATE("xs: a zero core leaves the output alone, a tiny one moves it by a tiny bit", Be,
                   PREHEAT_BACKENDS) {
  toy_task<Be> untouched;
  const table before = untouched.base_output();
  for (const double sigma : {0.0, 1e-3}) {
    toy_task<Be> p;
    lora_xs m{.init = {.sigma = sigma}};
    m.optim.lr = 0;
    const auto report = fit(m, p.net, p.data, {.rank = 3, .steps = 1});
    CHECK(p.weights_are_those_of(untouched));
    CHECK_FALSE(report.base_changed);
    const double moved = gap(p.adapted_output(report), before);
    CHECK(moved <= 100 * sigma * largest(before));
    CHECK((moved > 0) == (sigma > 0));
  }
}

TEST_CASE_TEMPLATE("xs: training moves the core alone and lowers the loss", Be, PREHEAT_BACKENDS) {
  toy_task<Be> p;
  const double before = p.base_loss();
  const lora_xs m{.optim = {.lr = 3e-2}};
  auto run = start_run(m, p.net, p.data, {.rank = 4, .steps = 60});
  const table a = read<Be>(p.be, run.adapters.layers()[1].parameters.A);
  const table b = read<Be>(p.be, run.adapters.layers()[1].parameters.B);
  const auto report = run.run_to_end();
  CHECK(report.trainable_parameters == 3 * 16);
  CHECK(report.layers[1].rank == 4);
  CHECK(same(read<Be>(p.be, report.layers[1].parameters.A), a));
  CHECK(same(read<Be>(p.be, report.layers[1].parameters.B), b));
  CHECK(largest(read<Be>(p.be, report.layers[1].parameters.R)) > 0);
  const table output = p.adapted_output(report);
  merge(p.net, report);
  CHECK(gap(p.base_output(), output) < tolerance<Be>(15) * largest(output));
  CHECK(p.base_loss() < 0.95 * before);
}
