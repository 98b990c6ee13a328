// RM-LoRA and SoRA against dense references in plain loops: twenty steps, compared after every one
// of them.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;

constexpr index_t steps = 20;
constexpr index_t rank = 4;
constexpr double rate = 0.03;
constexpr double decay = 0.2;
constexpr std::uint64_t seed = 77;
const std::vector<double> scalings{1.5, 0.7, 1.1};

struct context {
  regression_data data{{{9, 7}, {6, 8}, {5, 10}}};
  Be be{};
  regressions<Be> net{be, data};
  regressions<Be>::batches batches{};
};

fit_options options_of(double largest_norm) {
  fit_options options{.rank = rank, .steps = steps, .seed = seed};
  options.layer_scaling = scalings;
  options.max_gradient_norm = largest_norm;
  options.schedule = [](index_t step, index_t) { return 1 - 0.02 * double(step); };
  return options;
}
double rate_at(index_t step) {
  return rate * (1 - 0.02 * double(step));
}

// Rules for one table.
struct adamw_rule {
  reference_adam adam{};
  void step(table& x, const table& g, double lr, double weight_decay) {
    x = (1 - lr * weight_decay) * x - lr * adam.direction(g);
  }
};
struct momentum_rule {
  table u{};
  void step(table& x, const table& gradient, double lr, double weight_decay) {
    const table g = gradient + weight_decay * x;
    u = u.values.empty() ? g : 0.9 * u + 0.8 * g;
    x = x - lr * u;
  }
};

template <class Rule>
struct one_layer {
  gated_tables p;
  Rule a{}, b{}, g{};
};

// The layers of a run as it begins; without a gate in the adapter, gates of 1.
template <class Rule, class Run>
std::vector<one_layer<Rule>> layers_of(Be& be, Run& run) {
  std::vector<one_layer<Rule>> all;
  for (const auto& adapted_layer : run.adapters.layers()) {
    const auto& p = adapted_layer.parameters;
    table gates(rank, 1, 1);
    if constexpr (requires { p.g; }) {
      gates = read<Be>(be, p.g);
    }
    all.push_back({{read<Be>(be, p.A), read<Be>(be, p.B), gates}});
    CHECK(double(adapted_layer.scaling) == scalings[all.size() - 1]);
  }
  return all;
}

template <class Rule>
std::vector<gated_tables> loss_gradients(const context& s,
                                         const std::vector<one_layer<Rule>>& layers, index_t step) {
  std::vector<gated_tables> all;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    all.push_back(loss_gradient(s.data, l, layers[l].p, scalings[l], regression_data::batch(step)));
  }
  return all;
}

void clip(std::vector<gated_tables>& gradients, double bound) {
  const double factor = bound > 0 ? clip_factor(gradients, bound) : 1;
  CHECK((bound == 0 || factor < 1));
  for (gated_tables& g : gradients) {
    g = {factor * g.A, factor * g.B, factor * g.g};
  }
}

// The rows of `kept`, the others from `rest`.
table rows_from(const table& kept, const table& rest, const std::vector<index_t>& keep) {
  table t = rest;
  for (const index_t k : keep) {
    for (index_t j = 0; j < t.cols; ++j) {
      t(k, j) = kept(k, j);
    }
  }
  return t;
}
table columns_from(const table& kept, const table& rest, const std::vector<index_t>& keep) {
  return transposed(rows_from(transposed(kept), transposed(rest), keep));
}

template <class Rule, class Base>
void check_rm_lora(const optim::masked<Base>& masked, double largest_norm) {
  constexpr double lambda = 0.3;
  context s;
  auto run = start_run(
      method<optim::regularized<optim::masked<Base>>>{.optim = {.base = masked, .lambda = lambda}},
      s.net, s.batches, options_of(largest_norm));
  auto layers = layers_of<Rule>(s.be, run);
  const double share = lambda / double(2 * layers.size());
  for (index_t t = 0; t < steps; ++t) {
    std::vector<gated_tables> gradients = loss_gradients(s, layers, t);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      gradients[l].A = gradients[l].A + share * penalty_gradient(layers[l].p.A, true);
      gradients[l].B = gradients[l].B + share * penalty_gradient(layers[l].p.B, false);
      gradients[l].g = {};
    }
    clip(gradients, largest_norm);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const generator of_layer =
          generator(seed).fork(purpose::step, std::uint64_t(t)).fork(purpose::step, l);
      const index_t count = t == 0 ? rank : masked.keep;
      const auto keep_a = random_subset(count, rank, of_layer.fork(purpose::mask, 0));
      const auto keep_b =
          masked.paired ? keep_a : random_subset(count, rank, of_layer.fork(purpose::mask, 1));
      auto& [p, a, b, unused] = layers[l];
      const gated_tables old = p;
      const auto& g = gradients[l];
      a.step(p.A, rows_from(g.A, table(g.A.rows, g.A.cols), keep_a), rate_at(t), decay);
      b.step(p.B, columns_from(g.B, table(g.B.rows, g.B.cols), keep_b), rate_at(t), decay);
      if (masked.freeze_masked) {
        p.A = rows_from(p.A, old.A, keep_a);
        p.B = columns_from(p.B, old.B, keep_b);
      }
    }
    run.step();
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const auto& p = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(s.be, p.A), layers[l].p.A) < 1e-10);
      CHECK(gap(read<Be>(s.be, p.B), layers[l].p.B) < 1e-10);
    }
  }
}

// ξ by the formulas of the header: seven parts of a run of twenty steps.
double xi_at(index_t step, optim::xi_schedule schedule, double first, double last) {
  const double x = std::floor(7.0 * double(step) / double(steps)) / 6;
  switch (schedule) {
    case optim::xi_schedule::linear:
      return first + x * (last - first);
    case optim::xi_schedule::log_linear:
      return std::log((1 - x) * std::exp(first) + x * std::exp(last));
    case optim::xi_schedule::exp_linear:
      return std::pow(first, 1 - x) * std::pow(last, x);
    default:
      return first;
  }
}

void check_sora(const optim::proximal<>& optim, double largest_norm) {
  CAPTURE(int(optim.schedule));
  CAPTURE(optim.published_rule);
  context s;
  auto run = start_run(sora{.optim = optim}, s.net, s.batches, options_of(largest_norm));
  auto layers = layers_of<adamw_rule>(s.be, run);
  const double share = optim.eta / double(rank * index_t(layers.size()));
  index_t closed = 0;
  for (index_t t = 0; t < steps; ++t) {
    std::vector<gated_tables> gradients = loss_gradients(s, layers, t);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      gradients[l].g = gradients[l].g + share * mapped(layers[l].p.g, sign);
    }
    clip(gradients, largest_norm);
    const double xi = xi_at(t, optim.schedule, optim.xi, optim.xi_last);
    const auto threshold = [&](double z) {
      const double beyond = std::abs(z) - xi;
      return beyond > (optim.published_rule ? xi : 0) ? sign(z) * beyond : 0.0;
    };
    run.step();
    closed = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      auto& [p, a, b, g] = layers[l];
      a.step(p.A, gradients[l].A, rate_at(t), decay);
      b.step(p.B, gradients[l].B, rate_at(t), decay);
      g.step(p.g, gradients[l].g, rate_at(t), 0);
      p.g = mapped(p.g, threshold);
      closed += std::count(p.g.values.begin(), p.g.values.end(), 0.0);
      const auto& mine = run.adapters.layers()[l].parameters;
      CHECK(gap(read<Be>(s.be, mine.A), p.A) < 1e-10);
      CHECK(gap(read<Be>(s.be, mine.B), p.B) < 1e-10);
      CHECK(gap(read<Be>(s.be, mine.g), p.g) < 1e-10);
    }
  }
  CHECK(closed > 0);  // so that both branches of the threshold were taken
  CHECK(closed < rank * index_t(layers.size()));
}

}  // namespace

TEST_CASE("reference: RM-LoRA with AdamW, paired and not, clipped and not") {
  const optim::adamw base{.lr = rate, .weight_decay = decay};
  for (const bool paired : {true, false}) {
    CAPTURE(paired);
    check_rm_lora<adamw_rule>(optim::masked<>{.base = base, .keep = 2, .paired = paired}, 0);
    check_rm_lora<adamw_rule>(optim::masked<>{.base = base, .keep = 3, .paired = paired}, 0.4);
  }
}

TEST_CASE("reference: RM-LoRA over SGD with momentum, masked ranks frozen") {
  const optim::sgd base{.lr = rate, .momentum = 0.9, .dampening = 0.2, .weight_decay = decay};
  for (const bool paired : {true, false}) {
    CAPTURE(paired);
    check_rm_lora<momentum_rule>(
        optim::masked<optim::sgd>{.base = base, .keep = 2, .paired = paired, .freeze_masked = true},
        0);
  }
}

TEST_CASE("reference: SoRA, every schedule and both thresholds, clipped and not") {
  using enum optim::xi_schedule;
  const optim::adamw base{.lr = rate, .weight_decay = decay};
  for (const auto schedule : {constant, linear, log_linear, exp_linear}) {
    for (const bool published : {false, true}) {
      const optim::proximal<> rule{.base = base,
                                   .eta = 2,
                                   .xi = 0.01,
                                   .xi_last = 0.06,
                                   .schedule = schedule,
                                   .published_rule = published};
      check_sora(rule, 0);
      check_sora(rule, 0.4);
    }
  }
}
