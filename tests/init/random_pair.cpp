// Init[AB] and MiSS's shards: what they draw, that the output is unchanged, and MiSS as its paper has it.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"

using namespace conformance;
using namespace preheat;

TEST_CASE_TEMPLATE("random_pair: both factors are uniform by the fan-in, and W loses their product",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = matrix(be, random_table(60, 40, 1));
  const init::random_pair init{.size_a = 2, .size_b = 0.5};
  const factors<Be> f = init(be, {.W = W, .rank = 8, .scaling = 1, .gen = generator(3)});
  const auto uniform = [&](const table& t, double bound) {
    const double count = double(t.values.size());
    CHECK(largest(t) <= bound * (1 + epsilon<Be>));
    CHECK(std::abs(square_norm(t) / count / (bound * bound) - 1.0 / 3) <
          5 * 0.3 / std::sqrt(count));
  };
  uniform(read<Be>(be, f.A), 2 / std::sqrt(40.0));
  uniform(read<Be>(be, f.B), 0.5 / std::sqrt(40.0));
  CHECK_THROWS_AS(init::random_pair{.size_a = 0}(be, target_layer<Be>{.W = W, .rank = 2}),
                  invalid_argument);

  const regression_data data({{9, 7}, {6, 8}});
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches{};
  const auto all = regression_data::everything();
  base_operator<Be> base(net);
  const double before = double(net.loss(all, base));
  auto run =
      start_run(lora_random_pair{.optim = {.lr = 0.02}}, net, batches, {.rank = 2, .steps = 20});
  CHECK(std::abs(double(net.loss(all, run.adapters)) - before) < tolerance<Be>(20) * before);
  CHECK(gap(net.weights()[0], data.layers[0].W) > 1e-3);
  const auto report = run.run_to_end();
  CHECK(report.base_changed);
  CHECK(report.losses[16] < report.losses[0]);
}

TEST_CASE_TEMPLATE(
    "miss: y = Wx + Dᵀ·(the sum of the shards of x), shards that do not divide included", Be,
    PREHEAT_BACKENDS) {
  Be be;
  for (const index_t n : {6, 7, 8}) {
    CAPTURE(n);
    const index_t r = 3, m = 5;
    const mat<Be> W = be.zeros(m, n);
    const factors<Be> f = init::shards{}(be, {.W = W, .rank = r, .scaling = 1});
    const table x = random_table(n, 4, 2);
    table sum(r, 4);
    for (index_t j = 0; j < n; ++j) {
      for (index_t c = 0; c < 4; ++c) {
        sum(j % r, c) += x(j, c);
      }
    }
    CHECK(gap(read<Be>(be, f.A) * x, sum) < tolerance<Be>(1));
    CHECK(largest(read<Be>(be, f.B)) == 0);
  }
  CHECK_THROWS_AS(
      init::shards{}(be,
                     target_layer<Be>{.W = be.zeros(4, 4), .rank = 2, .side = singular_side::left}),
      invalid_argument);
}

TEST_CASE("reference: MiSS, twenty steps of AdamW on D alone") {
  using Be = cpu_double;
  const double rate = 0.02, decay = 0.1;
  const index_t r = 3;
  const regression_data data({{9, 7}, {6, 8}});
  Be be;
  regressions<Be> net(be, data);
  regressions<Be>::batches batches{};
  auto run = start_run(miss{.optim = {.lr = rate, .weight_decay = decay}}, net, batches,
                       {.rank = r, .steps = 20, .scaling = scaling::constant(1)});
  CHECK(trained_size(run.adapters.layers()[0].parameters) == r * 9);
  std::vector<table> D{table(r, 9), table(r, 6)};
  std::vector<reference_adam> adam(2);
  for (index_t t = 0; t < 20; ++t) {
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      const table& W = data.layers[l].W;
      table whole = W;
      for (index_t i = 0; i < W.rows; ++i) {
        for (index_t j = 0; j < W.cols; ++j) {
          whole(i, j) += D[l](j % r, i);
        }
      }
      const table G = data.gradient(l, whole, regression_data::batch(t));
      table g(r, W.rows);
      for (index_t i = 0; i < W.rows; ++i) {
        for (index_t j = 0; j < W.cols; ++j) {
          g(j % r, i) += G(i, j);
        }
      }
      D[l] = (1 - rate * decay) * D[l] - rate * adam[l].direction(g);
      CHECK(gap(read<Be>(be, run.adapters.layers()[l].parameters.B), transposed(D[l])) < 1e-10);
      // The plain LoRA adapter of the same ΔW, exactly: B·A has D_ji in every column that shard j sums.
      const factors<Be> plain =
          adapter::asymmetric<parameter_role::B>{}.product(be, run.adapters.layers()[l].parameters);
      const table BA = read<Be>(be, plain.B) * read<Be>(be, plain.A);
      for (index_t j = 0; j < W.cols; ++j) {
        CHECK(gap(columns(BA, j, 1), columns(transposed(D[l]), j % r, 1)) < 1e-10);
      }
    }
  }
}

TEST_CASE("miss and Init[AB] in chains, under masks, and as HRP's preheating method") {
  const regression_data data({{9, 7}, {6, 8}});
  cpu_double be;
  const auto falls = [&](const auto& m) {
    regressions<cpu_double> net(be, data);
    regressions<cpu_double>::batches batches{};
    const auto report = fit(m, net, batches, {.rank = 2, .steps = 40});
    CHECK(report.losses[report.losses.size() - 4] < report.losses[0]);
  };
  falls(with<miss, chain::merge_every>{.optim = {.lr = 0.02}, .chain = {.period = 10}});
  falls(with<miss, optim::masked<>>{.optim = {.base = {.lr = 0.05}, .keep = 1}});
  falls(hrp<miss>{.init = {.multiple = 2, .steps = 4}, .optim = {.lr = 0.02}});
  falls(with<lora_random_pair, chain::merge_every>{.optim = {.lr = 0.02}, .chain = {.period = 10}});
  falls(with<lora_random_pair, optim::masked<>>{.optim = {.base = {.lr = 0.02}, .keep = 1}});
}
