// HiRA, LoHa and SHiRA, whose ΔW is an entrywise product: gradients by central differences, the output by its
// formula, the start, merging, chains, masks, and twenty steps in plain loops.
#include <preheat/adapter/hira.hpp>
#include <preheat/adapter/loha.hpp>
#include <preheat/adapter/shira.hpp>

#include "adapter_checks.hpp"
#include "adapter_reference.hpp"

using namespace conformance;
using namespace preheat;

namespace {

const std::vector<std::pair<index_t, index_t>> shapes{{9, 7}, {6, 8}};

// The output of a layer with random parameters against (W + ΔW)·x + b.
template <class Be, class Adapter, class Delta>
void check_output(Delta delta) {
  for (const bool bias : {true, false}) {
    linear_problem<Be> p({{5, 4}}, {0}, bias);
    const table w = read<Be>(p.be, p.net.layers()[0].W);
    const table b = bias ? read<Be>(p.be, p.net.layers()[0].b) : table(5, 1);
    adapted<Be, Adapter> linear(p.net);
    attach_random(p.be, linear, 0, 3, 92);
    const auto& x = linear.layers()[0].parameters;
    CHECK(rank_of(linear.adapter(), p.be, x) == 3);
    p.net.loss(p.batch, linear);
    const table whole = w + scaling_value * delta(w, read_trained(p.be, x));
    CHECK(gap(p.net.output, whole * read<Be>(p.be, p.batch.X) + b * table(1, 7, 1)) <
          tolerance<Be>(40));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("hadamard: gradients of hira equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::hira>();
}
TEST_CASE_TEMPLATE("hadamard: gradients of loha equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::loha>();
}
TEST_CASE_TEMPLATE("hadamard: gradients of shira equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::shira>();
}
TEST_CASE_TEMPLATE("hadamard: merged equals unmerged, and the output is the formula's", Be,
                   PREHEAT_BACKENDS) {
  check_merge<Be, adapter::hira>();
  check_merge<Be, adapter::loha>();
  check_merge<Be, adapter::shira>();
  check_output<Be, adapter::hira>(
      [](const table& W, const tables& p) { return entrywise(W, p[1] * p[0]); });
  check_output<Be, adapter::loha>(
      [](const table&, const tables& p) { return entrywise(p[1] * p[0], p[3] * p[2]); });
}
TEST_CASE_TEMPLATE("hadamard: starts without a change, falls, merges, chains", Be,
                   PREHEAT_BACKENDS) {
  check_life_of<Be>(hira{}, shapes, 2);
  check_life_of<Be>(loha{}, shapes, 2);
  check_life_of<Be>(shira{}, shapes, 2);
}

TEST_CASE_TEMPLATE("hadamard: shira trains r·(m + n) entries of its own draw, and no others move",
                   Be, PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(30, 20);
  const frozen_linear<Be> base{W, {}, 1};
  const table mask = read<Be>(be, adapter::shira{}.start(be, base, 3, generator(3)).mask);
  CHECK(square_norm(mask) == 3 * 50);
  CHECK(largest(mapped(mask, [](double x) { return x * (1 - x); })) == 0);
  CHECK_FALSE(same(mask, read<Be>(be, adapter::shira{}.start(be, base, 3, generator(4)).mask)));
  CHECK_THROWS_AS(adapter::shira{}.start(be, base, 13, generator()), invalid_argument);
  const regression_data data(shapes);
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches{};
  const auto report = fit(shira{.optim = {.lr = 0.05}}, net, batches, {.rank = 2, .steps = 8});
  for (const auto& l : report.layers) {
    const table D = read<Be>(be, l.parameters.D), M = read<Be>(be, l.parameters.mask);
    CHECK(same(entrywise(D, M), D));
    CHECK(largest(D) > 0.01);
  }
}

TEST_CASE_TEMPLATE("hadamard: the draws of hira and loha", Be, PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = be.zeros(30, 20);
  const frozen_linear<Be> base{W, {}, 1};
  const auto h = adapter::hira{}.start(be, base, 8, generator(3));
  const double a = 1 / std::sqrt(20.0);
  const double r = 1 / std::sqrt(8.0);
  const auto uniform = [&](const mat<Be>& x, double bound) {
    const table t = read<Be>(be, x);
    CHECK(largest(t) <= bound * (1 + epsilon<Be>));
    const double count = double(t.values.size());
    CHECK(std::abs(square_norm(t) / count / (bound * bound) - 1.0 / 3) <
          5 * 0.3 / std::sqrt(count));
  };
  uniform(h.inner_a, a);
  CHECK(largest(read<Be>(be, h.inner_b)) == 0);
  const auto l = adapter::loha{}.start(be, base, 8, generator(3));
  uniform(l.A1, a);
  uniform(l.B1, r);
  uniform(l.B2, r);
  CHECK(largest(read<Be>(be, l.A2)) == 0);
  CHECK_FALSE(same(read<Be>(be, l.B1), read<Be>(be, l.B2)));
  CHECK(trained_size(l) == 2 * 8 * (30 + 20));
}

TEST_CASE("reference: HiRA, twenty steps") {
  const double s = 1.3;
  check_adapter_reference(
      hira{}, shapes, 3, s,
      [&](const table& W, const tables& p, const auto&) { return s * entrywise(W, p[1] * p[0]); },
      [&](const table& W, const tables& p, const table& G, const auto&) -> tables {
        const table E = s * entrywise(W, G);
        return {transposed(p[1]) * E, E * transposed(p[0])};
      });
}
TEST_CASE("reference: LoHa, twenty steps") {
  const double s = 0.7;
  check_adapter_reference(
      loha{}, shapes, 3, s,
      [&](const table&, const tables& p, const auto&) {
        return s * entrywise(p[1] * p[0], p[3] * p[2]);
      },
      [&](const table&, const tables& p, const table& G, const auto&) -> tables {
        const table one = s * entrywise(G, p[3] * p[2]), two = s * entrywise(G, p[1] * p[0]);
        return {transposed(p[1]) * one, one * transposed(p[0]), transposed(p[3]) * two,
                two * transposed(p[2])};
      });
}

TEST_CASE("reference: SHiRA, twenty steps") {
  const double s = 0.7;
  const auto kept = [&](const table& x, const auto& parameters) {
    cpu_double be;
    return s * entrywise(x, read<cpu_double>(be, parameters.mask));
  };
  check_adapter_reference(
      shira{}, shapes, 3, s,
      [&](const table&, const tables& p, const auto& all) { return kept(p[0], all); },
      [&](const table&, const tables&, const table& G, const auto& all) -> tables {
        return {kept(G, all)};
      });
}

TEST_CASE("hadamard: masks and changes of rank work on the factors") {
  const regression_data data(shapes);
  cpu_double be;
  regressions<cpu_double> net(be, data);
  regressions<cpu_double>::batches batches{};
  const auto report =
      fit(method<adapter::hira, optim::masked<>>{.optim = {.base = {.lr = 0.05}, .keep = 1}}, net,
          batches, {.rank = 3, .steps = 20});
  CHECK(report.losses[16] < report.losses[0]);
  auto p = clone_params(be, report.layers[0].parameters);
  const table A = read<cpu_double>(be, p.inner_a);
  select_ranks(be, p, {2, 0}, 1);
  CHECK(same(rows(read<cpu_double>(be, p.inner_a), 0, 1), rows(A, 2, 1)));
  CHECK(p.inner_b.cols() == 3);
}
