// RM-LoRA in a run: the mean over the factors of the whole network, the mask after clipping, draws
// of its own in every layer, LoRA when nothing is masked or regularized, exact resume.
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "sparse_support.hpp"
#include "support/backends.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
struct context {
  regression_data data{{{9, 7}, {6, 8}, {5, 10}}};
  Be be{};
  regressions<Be> net{be, data};
  typename regressions<Be>::batches batches{};

  template <class Run>
  gated_tables parameters(const Run& run, std::size_t l) {
    const auto& p = run.adapters.layers()[l].parameters;
    table gates(p.A.rows(), 1, 1);
    if constexpr (requires { p.g; }) {
      gates = read<Be>(be, p.g);
    }
    return {read<Be>(be, p.A), read<Be>(be, p.B), gates};
  }
};

// The first step of a run with λ = 3: the gradient of every trained factor is the loss's plus
// 3/matrices times that of its penalty; a gate's is the loss's alone.
template <class Be, class Adapter>
void check_share(double matrices, const std::vector<std::string>& targets = {}) {
  context<Be> s;
  fit_options options{.rank = 3, .steps = 2};
  options.targets = targets;
  auto run = start_run(method<Adapter, optim::regularized<optim::sgd>>{.optim = {.lambda = 3}},
                       s.net, s.batches, options);
  for (int step = 0; step < 2; ++step) {
    std::vector<gated_tables> before(3);
    for (const index_t l : run.targets()) {
      before[l] = s.parameters(run, std::size_t(l));
    }
    run.step();
    for (const index_t l : run.targets()) {
      const auto& adapted_layer = run.adapters.layers()[l];
      const gated_tables& p = before[l];
      const gated_tables g = loss_gradient(s.data, std::size_t(l), p, double(adapted_layer.scaling),
                                           regression_data::batch(step));
      const double share = 3 / matrices;
      for_each_trained(
          [&](auto parameter, const auto& mine) {
            table wanted = g.g;
            if constexpr (parameter.role == parameter_role::A) {
              wanted = g.A + share * penalty_gradient(p.A, true);
            } else if constexpr (parameter.role == parameter_role::B) {
              wanted = g.B + share * penalty_gradient(p.B, false);
            }
            CAPTURE(std::string(parameter.name));
            CHECK(gap(read<Be>(s.be, mine), wanted) < tolerance<Be>(8) * (1 + largest(wanted)));
          },
          adapted_layer.gradient);
    }
  }
}

template <class Be, class Method>
auto report_of(const Method& m) {
  context<Be> s;
  return fit(m, s.net, s.batches, {.rank = 3, .steps = 8, .seed = 4});
}

// Which rows of a table are not zero.
std::vector<index_t> rows_present(const table& a) {
  std::vector<index_t> rows;
  for (index_t i = 0; i < a.rows; ++i) {
    if (largest(columns(transposed(a), i, 1)) > 0) {
      rows.push_back(i);
    }
  }
  return rows;
}

}  // namespace

TEST_CASE_TEMPLATE("regularized: the mean is over all trained factors of the network", Be,
                   PREHEAT_BACKENDS) {
  check_share<Be, adapter::lora>(6);
  check_share<Be, adapter::lora>(4, {"l0", "l2"});
}
TEST_CASE("regularized: a frozen factor and a gate do not count in the mean") {
  check_share<cpu_double, adapter::asymmetric<parameter_role::A>>(3);
  check_share<cpu_double, adapter::asymmetric<parameter_role::B>>(3);
  check_share<cpu_double, adapter::gated<>>(6);
}

TEST_CASE_TEMPLATE("masked: clipping sees the whole gradient, the mask comes after it", Be,
                   PREHEAT_BACKENDS) {
  const double bound = 0.5;
  context<Be> s;
  fit_options options{.rank = 4, .steps = 5};
  options.max_gradient_norm = bound;
  using optimizer = optim::regularized<optim::masked<optim::sgd>>;
  auto run = start_run(method<optimizer>{.optim = {.base = {.keep = 1}, .lambda = 3}}, s.net,
                       s.batches, options);
  for (index_t step = 0; step < 5; ++step) {
    std::vector<gated_tables> full;
    for (std::size_t l = 0; l < 3; ++l) {
      const gated_tables p = s.parameters(run, l);
      full.push_back(loss_gradient(s.data, l, p, 2, regression_data::batch(step)));
      full[l].A = full[l].A + 0.5 * penalty_gradient(p.A, true);
      full[l].B = full[l].B + 0.5 * penalty_gradient(p.B, false);
      full[l].g = {};
    }
    const double factor = clip_factor(full, bound);
    CHECK(factor < 1);
    run.step();
    for (std::size_t l = 0; l < 3; ++l) {  // what the optimizer has seen, on the kept ranks
      const auto& g = run.adapters.layers()[l].gradient;
      const table a = read<Be>(s.be, g.A);
      const table b = transposed(read<Be>(s.be, g.B));
      const std::vector<index_t> kept = rows_present(a);
      CHECK(kept.size() == (step == 0 ? 4 : 1));
      CHECK(rows_present(b) == kept);
      for (const index_t k : kept) {
        const auto rank_of = [&](const table& x) { return columns(transposed(x), k, 1); };
        CHECK(gap(rank_of(a), factor * rank_of(full[l].A)) < tolerance<Be>(8));
        CHECK(gap(rank_of(b), factor * rank_of(transposed(full[l].B))) < tolerance<Be>(8));
      }
    }
  }
}

TEST_CASE("masked: every layer, step and seed draws for itself") {
  using Be = cpu_double;
  using optimizer = optim::masked<optim::sgd>;
  std::vector<std::vector<std::vector<index_t>>> draws;  // by seed: a set for each step and layer
  for (const std::uint64_t seed : {1u, 2u}) {
    context<Be> s;
    auto run = start_run(method<optimizer>{.optim = {.keep = 1}}, s.net, s.batches,
                         {.rank = 4, .steps = 24, .seed = seed});
    std::vector<std::vector<index_t>> mine;
    index_t layers_differ = 0;
    index_t steps_differ = 0;
    for (index_t step = 0; step < 24; ++step) {
      run.step();
      for (const auto& adapted_layer : run.adapters.layers()) {
        mine.push_back(rows_present(read<Be>(s.be, adapted_layer.gradient.A)));
      }
      const std::size_t last = mine.size() - 1;
      layers_differ += mine[last] != mine[last - 1];
      steps_differ += step > 1 && mine[last] != mine[last - 3];
    }
    CHECK(layers_differ > 8);
    CHECK(steps_differ > 8);
    draws.push_back(mine);
  }
  CHECK(draws[0] != draws[1]);
}

TEST_CASE_TEMPLATE("RM-LoRA with k = r and λ = 0 is LoRA bitwise, also with frozen ranks", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const auto plain = report_of<Be>(lora{.optim = {.lr = 0.02}});
  for (const bool freeze : {false, true}) {
    for (const index_t keep : {3, 5}) {
      for (const bool paired : {true, false}) {
        const optim::masked<> masked{
            .base = {.lr = 0.02}, .keep = keep, .paired = paired, .freeze_masked = freeze};
        const auto mine = report_of<Be>(rm_lora{.optim = {.base = masked, .lambda = 0}});
        CHECK(same_results(be, mine, plain));
      }
    }
  }
  const optim::masked<> two{.base = {.lr = 0.02}};
  CHECK(parameter_gap(be, report_of<Be>(rm_lora{.optim = {.base = two, .lambda = 0}}), plain) > 0);
}

TEST_CASE("RM-LoRA: a resumed run ends with the bits of a whole one") {
  using Be = cpu_double;
  Be be;
  const rm_lora m{.optim = {.base = {.base = {.lr = 0.02}, .freeze_masked = true}}};
  context<Be> first;
  fit_options options{.rank = 3, .steps = 8, .seed = 4};
  auto run = start_run(m, first.net, first.batches, options);
  for (int i = 0; i < 5; ++i) {
    run.step();
  }
  const training_state saved = run.state();
  options.resume = &saved;
  context<Be> second;
  CHECK(same_results(be, fit(m, second.net, second.batches, options), report_of<Be>(m)));
}

TEST_CASE("RM-LoRA: the order of the two decorators does not matter, over other optimizers too") {
  using Be = cpu_double;
  using base = optim::scaled<optim::sgd>;
  Be be;
  const auto outside =
      report_of<Be>(method<optim::regularized<optim::masked<base>>>{.optim = {.lambda = 0.3}});
  const auto inside = report_of<Be>(
      method<optim::masked<optim::regularized<base>>>{.optim = {.base = {.lambda = 0.3}}});
  const auto neither = report_of<Be>(method<base>{});
  CHECK(same_results(be, outside, inside));
  CHECK(parameter_gap(be, outside, neither) > 0);
}
