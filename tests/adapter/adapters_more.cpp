// Adapters with gates and with shared chunks: their gradients by central differences, the output of
// gates by formula, merging. See prolora.cpp for PRoLoRA's output.
#include <preheat/adapter/gated.hpp>
#include <preheat/adapter/prolora.hpp>
#include <vector>

#include "adapter_checks.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using learned = adapter::gated<adapter::gate::learned>;
using open = adapter::gated<adapter::gate::open>;

// At ranks 2 and 1: sizes that do not divide, one plain rank (at rank 1 no shared one), replicas
// that are cut away whole, no sharing at all.
const std::vector<adapter::prolora> sharings{{.share_a = 2, .share_b = 2},
                                             {.share_a = 3, .share_b = 2, .unshared = 1},
                                             {.share_a = 4, .share_b = 3},
                                             {.share_a = 3, .share_b = 4},
                                             {.share_a = 1, .share_b = 1}};

}  // namespace

TEST_CASE_TEMPLATE("adapter: gradients of learned gates equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, learned>();
}
TEST_CASE_TEMPLATE("adapter: gradients beside open gates equal differences", Be, PREHEAT_BACKENDS) {
  check_adapter<Be, open>();
}
TEST_CASE_TEMPLATE("adapter: gradients of prolora equal differences", Be, PREHEAT_BACKENDS) {
  for (const adapter::prolora& sharing : sharings) {
    CAPTURE(sharing.share_a);
    CAPTURE(sharing.share_b);
    CAPTURE(sharing.unshared);
    check_adapter<Be>(sharing);
  }
}

TEST_CASE_TEMPLATE("adapter: gates and chunks merged equal unmerged", Be, PREHEAT_BACKENDS) {
  check_merge<Be, learned>();
  check_merge<Be, open>();
  for (const adapter::prolora& sharing : sharings) {
    check_merge<Be>(sharing);
  }
}

namespace {

// y = (W + s·B·diag(g)·A)·x + b, for any gates; the product that the adapter names is A, B·diag(g).
template <class Be, class Adapter>
void check_gated_output() {
  for (const bool bias : {true, false}) {
    linear_problem<Be> p({{5, 4}}, {0}, bias);
    const table w = read<Be>(p.be, p.net.layers()[0].W);
    const table b = bias ? read<Be>(p.be, p.net.layers()[0].b) : table(5, 1);
    const table x = read<Be>(p.be, p.batch.X);
    adapted<Be, Adapter> linear(p.net);
    attach_random(p.be, linear, 0, 3, 92);
    const auto& parameters = linear.layers()[0].parameters;
    const table A = read<Be>(p.be, parameters.A);
    const table B = read<Be>(p.be, parameters.B);
    const table g = read<Be>(p.be, parameters.g);
    const table delta = scaling_value * (B * diagonal(g.values) * A);
    p.net.loss(p.batch, linear);
    CHECK(gap(p.net.output, (w + delta) * x + b * table(1, 7, 1)) < tolerance<Be>(20));
    const factors<Be> f = linear.adapter().product(p.be, parameters);
    CHECK(same(read<Be>(p.be, f.A), A));
    CHECK(gap(read<Be>(p.be, f.B), B * diagonal(g.values)) < tolerance<Be>(1));
    CHECK(rank_of(linear.adapter(), p.be, parameters) == 3);

    // A closed gate removes its rank from the product, an open one leaves it as it is.
    write(p.be, columns(identity(3), 1, 1), view_of<Be>(linear.layers()[0].parameters.g));
    p.net.loss(p.batch, linear);
    const table one = scaling_value * (columns(B, 1, 1) * transposed(columns(transposed(A), 1, 1)));
    CHECK(gap(p.net.output, (w + one) * x + b * table(1, 7, 1)) < tolerance<Be>(20));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("adapter: a gate multiplies what its rank adds", Be, PREHEAT_BACKENDS) {
  check_gated_output<Be, learned>();
  check_gated_output<Be, open>();
}

TEST_CASE_TEMPLATE("adapter: learned gates start at N(0, 1) and are trained, open ones at one", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = matrix(be, random_table(400, 400, 60));
  const frozen_linear<Be> base{W, {}, 1};
  const auto start = [&](const auto& adapter, std::uint64_t seed) {
    factors<Be> f{be.zeros(400, 400), be.zeros(400, 400)};
    return adapter.start(be, base, std::move(f), generator(seed));
  };
  const auto p = start(learned{}, 61);
  const table g = read<Be>(be, p.g);
  CHECK(g.rows == 400);
  double sum = 0;
  for (const double x : g.values) {
    sum += x;
  }
  CHECK(std::abs(sum / 400) < 5 / std::sqrt(400.0));
  CHECK(std::abs(square_norm(g) / 400 - 1) < 5 * std::sqrt(2.0 / 400));
  CHECK(largest(g) > 2);  // not uniform: |g| > 2 once in 22 draws
  CHECK_FALSE(same(g, read<Be>(be, start(learned{}, 62).g)));
  CHECK(trained_size(p) == 400 * (400 + 400 + 1));

  const auto q = start(open{}, 61);
  CHECK(same(read<Be>(be, q.g), table(400, 1, 1)));
  CHECK(trained_size(q) == 400 * (400 + 400));
  CHECK(zeros_like(be, q).g.rows() == 0);
}
