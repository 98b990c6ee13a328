// The head that a network trains beside the adapters: AdamW in the one loop, with its own rate,
// clipping, accumulation and resume; and what gathers calibration leaves it, and W, bitwise alone.
#include <preheat/init/corda.hpp>
#include <preheat/init/eva.hpp>
#include <preheat/init/hrp.hpp>
#include <preheat/init/lora_ga.hpp>
#include <preheat/init/lora_one.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;
using network_type = nn::bert<Be, nn::mean_pool_head>;
using data_type = repeated_batch<Be>;
using lora_method = method<>;

// A small encoder with its data.
struct problem {
  Be be;
  network_type net = small_encoder<network_type>(be);
  nn::token_batch<Be> batch = small_batch<Be>(be);
  data_type data{&batch};

  table W() { return read<Be>(be, net.head().parameters.W); }
  table b() { return read<Be>(be, net.head().parameters.b); }
};

// AdamW with torch's settings, on a table.
struct plain_adamw {
  table m, v;
  int t = 0;
  void step(table& p, const table& g, double lr) {
    if (t++ == 0) {
      m = v = table(p.rows, p.cols);
    }
    for (std::size_t k = 0; k < p.values.size(); ++k) {
      p.values[k] *= 1 - lr * 0.01;
      m.values[k] = 0.9 * m.values[k] + 0.1 * g.values[k];
      v.values[k] = 0.999 * v.values[k] + 0.001 * g.values[k] * g.values[k];
      const double mhat = m.values[k] / (1 - std::pow(0.9, t));
      const double vhat = v.values[k] / (1 - std::pow(0.999, t));
      p.values[k] -= lr * mhat / (std::sqrt(vhat) + 1e-8);
    }
  }
};

// The head after some steps of AdamW with its own gradient, the adapters' learning rate being 0.
table head_by_hand(int steps, const std::vector<double>& rates, double most_norm) {
  problem p;
  base_operator<Be> base(p.net);
  plain_adamw of_W;
  plain_adamw of_b;
  for (int k = 0; k < steps; ++k) {
    set_zero(p.be, p.net.head().gradient);
    p.net.loss_and_gradient(p.batch, base);
    table gW = read<Be>(p.be, p.net.head().gradient.W);
    table gb = read<Be>(p.be, p.net.head().gradient.b);
    if (most_norm > 0) {
      const double norm = std::sqrt(square_norm(gW) + square_norm(gb));
      const double factor = std::min(1.0, most_norm / (norm + 1e-6));
      gW = factor * gW;
      gb = factor * gb;
    }
    table W = p.W();
    table b = p.b();
    of_W.step(W, gW, rates[k]);
    of_b.step(b, gb, rates[k]);
    write<Be>(p.be, W, p.net.head().parameters.W);
    write<Be>(p.be, b, p.net.head().parameters.b);
  }
  return p.W();
}

// B stays 0 where nothing moves: the adapters then have a gradient only through B.
lora_method resting() {
  return {.optim = {.lr = 0, .weight_decay = 0}};
}

}  // namespace

TEST_CASE("head: AdamW at the rate of the head times the schedule") {
  problem p;
  fit_options options{.rank = 2, .steps = 4};
  options.schedule = schedule::linear{};
  options.head_rate = 0.1;
  const auto report = fit(resting(), p.net, p.data, options);
  std::vector<double> used;
  for (index_t k = 0; k < 4; ++k) {
    used.push_back(0.1 * options.schedule(k, 4));
  }
  CHECK(gap(p.W(), head_by_hand(4, used, 0)) < 1e-12);
  CHECK(used.front() != used.back());
  CHECK(report.head_parameters == small_outputs * (small_config().hidden_size + 1));
  index_t adapters = 0;
  for (const auto& l : p.net.layers()) {
    adapters += 2 * (l.W.rows() + l.W.cols());
  }
  CHECK(report.trainable_parameters == adapters);
}

TEST_CASE("head: without a rate of its own it has the method's; 0 leaves it") {
  problem own;
  problem methods;
  problem still;
  const table start = still.W();
  const lora_method m{.optim = {.lr = 0.01}};
  fit(m, methods.net, methods.data, {.rank = 2, .steps = 5});
  fit(m, own.net, own.data, {.rank = 2, .steps = 5, .head_rate = 0.01});
  fit(m, still.net, still.data, {.rank = 2, .steps = 5, .head_rate = 0.0});
  CHECK(same(own.W(), methods.W()));
  CHECK(same(still.W(), start));
  CHECK_FALSE(same(own.W(), start));
  problem wrong;
  CHECK_THROWS_WITH_AS(fit(m, wrong.net, wrong.data, {.rank = 2, .steps = 5, .head_rate = -1.0}),
                       "preheat: learning rate of the head >= 0 (-1, 0)", invalid_argument);
}

TEST_CASE("head: its gradient is clipped with the adapters'") {
  const double bound = 1e-3;
  problem p;
  fit_options options{.rank = 2, .steps = 1, .max_gradient_norm = bound, .head_rate = 0.1};
  auto r = start_run(resting(), p.net, p.data, options);
  r.step();
  double square = square_norm(read<Be>(p.be, p.net.head().gradient.W)) +
                  square_norm(read<Be>(p.be, p.net.head().gradient.b));
  const double of_head = square;
  for (auto& s : r.adapters.layers()) {
    square += square_norm(read<Be>(p.be, s.gradient.A)) + square_norm(read<Be>(p.be, s.gradient.B));
  }
  CHECK(std::abs(std::sqrt(square) / bound - 1) < 1e-4);
  CHECK(of_head > 0);
  CHECK(of_head < square);
}

TEST_CASE("head: batches are averaged") {
  problem one;
  problem four;
  fit(lora_method{}, one.net, one.data, {.rank = 2, .steps = 3});
  fit(lora_method{}, four.net, four.data, {.rank = 2, .steps = 3, .accumulate = 4});
  CHECK(gap(one.W(), four.W()) < 1e-12);
}

TEST_CASE("head: a resumed run ends with the same bits") {
  const fit_options options{.rank = 2, .steps = 8, .seed = 3};
  const method<init::hrp<>> m;
  problem whole;
  fit(m, whole.net, whole.data, options);

  problem first;
  training_state saved;
  fit_options until = options;
  until.checkpoint_every = 3;
  until.checkpoint = [&](const training_state& s) {
    if (saved.entries.empty()) {
      saved = s;
    }
  };
  fit(m, first.net, first.data, until);
  problem second;
  fit_options from = options;
  from.resume = &saved;
  fit(m, second.net, second.data, from);
  CHECK(same(second.W(), whole.W()));
  CHECK(same(second.b(), whole.b()));

  // A state of another network is refused.
  problem other;
  saved.entries.at("head/parameters/W") = {2, 8, std::vector<double>(16)};
  CHECK_THROWS_WITH_AS(fit(m, other.net, other.data, from),
                       "preheat: outputs of the saved head (2, 3)", invalid_argument);
}

namespace {

// Gathers the calibration of a method and starts it: W and the head are as they were, to the bit, and
// so is the output at step 0.
template <class Method>
void check_untouched(const Method& m) {
  problem p;
  std::vector<table> before;
  for (const auto& l : p.net.layers()) {
    before.push_back(read<Be>(p.be, l.W));
    before.push_back(read<Be>(p.be, l.b));
  }
  before.push_back(p.W());
  before.push_back(p.b());
  base_operator<Be> base(p.net);
  const table output = read<Be>(p.be, p.net.forward(p.batch, base));

  index_t gathered = 0;
  fit_options options{.rank = 2, .steps = 20, .head_rate = 0.1};
  options.observer = [&](const training_progress&) { ++gathered; };
  auto r = start_run(m, p.net, p.data, options);
  CHECK(gathered > 0);
  std::size_t k = 0;
  for (const auto& l : p.net.layers()) {
    CHECK(same(read<Be>(p.be, l.W), before[k++]));
    CHECK(same(read<Be>(p.be, l.b), before[k++]));
  }
  CHECK(same(p.W(), before[k++]));
  CHECK(same(p.b(), before[k++]));
  CHECK(same(read<Be>(p.be, p.net.forward(p.batch, r.adapters)), output));
}

}  // namespace

TEST_CASE("head: HRP leaves W and the head as they were, whatever warms it") {
  check_untouched(method<init::hrp<>>{});
  check_untouched(method<init::hrp<method<>>>{});
  check_untouched(method<init::hrp<>>{.init = {.side = singular_side::left}});
}
TEST_CASE("head: so do the inits that watch the data") {
  check_untouched(method<init::eva>{.init = {.batches = 2}});
}

TEST_CASE("head: calibration that moves W by design leaves the head") {
  const auto check = [](const auto& m) {
    problem p;
    const table W = p.W();
    const table b = p.b();
    auto r = start_run(m, p.net, p.data, {.rank = 2, .steps = 20});
    CHECK(same(p.W(), W));
    CHECK(same(p.b(), b));
  };
  check(method<init::corda>{});
  check(method<init::lora_ga<>>{});
  check(method<init::lora_one<>>{});
}

TEST_CASE("head: the warm run trains its copy of the head") {
  // Were the head at rest, the preheated factors would differ.
  const auto first_factor = [](double rate) {
    problem p;
    auto r = start_run(method<init::hrp<>>{.init = {.steps = 3}}, p.net, p.data,
                       {.rank = 2, .steps = 100, .head_rate = rate});
    return read<Be>(p.be, r.adapters.layers()[0].parameters.A);
  };
  CHECK_FALSE(same(first_factor(0.0), first_factor(0.1)));
}

TEST_CASE("head: a network without one reports none") {
  Be be;
  nn::mlp<Be> net(be, {6, 5, 3}, 1);
  struct {
    void load(const generator&, index_t, nn::labelled_batch<Be>& batch) const {
      Be backend;
      batch = {matrix(backend, random_table(6, 4, 1)), backend.zeros(1, 4)};
    }
  } data;
  const auto report = fit(lora_method{}, net, data, {.rank = 2, .steps = 2});
  CHECK(report.head_parameters == 0);
}
