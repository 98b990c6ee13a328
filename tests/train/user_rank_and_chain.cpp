// A rank policy and a chain that a user wrote (user_policies.hpp) take part in `fit` like the library's, on
// the CPU and on the archetype backend.
#include "user_policies.hpp"

#include <doctest/doctest.h>

#include "support/backends.hpp"
#include "support/small_problem.hpp"

using namespace preheat;
using conformance::problem;

TEST_CASE_TEMPLATE("user rank policy: ranks go, moments follow, new ranks leave the output alone",
                   Be, PREHEAT_BACKENDS) {
  problem<Be> p;
  const method<user::halved> m{.optim = {.lr = 1e-2}, .rank = {.when = 3, .added = 1}};
  auto r = start_run(m, p.net, p.batches, {.rank = 3, .steps = 6});
  r.step();
  r.step();
  r.step();
  CHECK(r.rank_state.changes == 3);
  for (index_t l = 0; l < 3; ++l) {
    CHECK(r.rank_of(l) == 3);  // two kept, one added
    CHECK(r.adapters.optimizer(l).m.A.rows() == 3);
    CHECK(r.adapters.optimizer(l).v.B.cols() == 3);
    CHECK(r.adapters.layers()[l].gradient.A.rows() == 3);
  }
  const double before = double(p.net.loss(p.all, r.adapters));
  for (index_t l = 0; l < 3; ++l) {
    r.select_ranks(l, {0, 1, 2}, 0);
  }
  CHECK(double(p.net.loss(p.all, r.adapters)) == before);
  r.select_ranks(0, {0, 1, 2}, 4);
  CHECK(double(p.net.loss(p.all, r.adapters)) ==
        doctest::Approx(before).epsilon(conformance::tolerance<Be>(4)));
  r.select_ranks(0, {2, 0}, 0);
  CHECK(r.rank_of(0) == 2);
  while (!r.done()) {
    r.step();
  }
  CHECK(r.finish().layers[0].rank == 2);
}

TEST_CASE_TEMPLATE("user chain: a fold and a fresh start leave the loss alone", Be,
                   PREHEAT_BACKENDS) {
  problem<Be> p;
  const method<user::fold_every> m{.optim = {.lr = 2e-2}, .chain = {.period = 4}};
  auto r = start_run(m, p.net, p.batches, {.rank = 1, .steps = 10});
  for (int i = 0; i < 4; ++i) {
    r.step();
  }
  const double before = double(p.net.loss(p.all, r.adapters));
  r.merge(r.targets());
  CHECK(double(p.net.loss(p.all, r.adapters)) ==
        doctest::Approx(before).epsilon(conformance::tolerance<Be>(16)));
  r.attach(r.targets());
  CHECK(double(p.net.loss(p.all, r.adapters)) ==
        doctest::Approx(before).epsilon(conformance::tolerance<Be>(16)));
}

TEST_CASE("user chain: the change of W has rank at most rounds × r, and the last round folds too") {
  using Be = conformance::cpu_double;
  problem<Be> p;
  const auto before = p.weights();
  const auto report = fit(method<user::fold_every>{.optim = {.lr = 2e-2}, .chain = {.period = 4}},
                          p.net, p.batches, {.rank = 1, .steps = 10});
  CHECK(report.base_changed);
  CHECK_FALSE(report.layers[0].attached);
  for (std::size_t l = 0; l < 2; ++l) {
    mat<Be> change = clone<Be>(p.be, p.net.layers()[l].W);
    mat<Be> old = p.be.zeros(change.rows(), change.cols());
    p.be.upload(before[l], old);
    p.be.apply(linalg::axpby<double>{-1, 1}, change, old);
    const auto sigma = p.be.download(p.be.svd(change).S);
    CHECK(sigma[2] > 1e-6);  // three rounds of rank 1: 4 + 4 + 2 steps
    CHECK(sigma[3] < 1e-12);
  }
}

TEST_CASE("user chain on a part of the layers: the others keep W bitwise") {
  using Be = conformance::cpu_double;
  problem<Be> p;
  const auto before = p.weights();
  fit(method<user::fold_every>{.optim = {.lr = 2e-2}, .chain = {.period = 3, .rotate = true}},
      p.net, p.batches, {.rank = 1, .steps = 6});
  const auto after = p.weights();
  CHECK(before[0] != after[0]);
  CHECK(before[1] != after[1]);
  CHECK(before[2] == after[2]);
}

TEST_CASE("HRP inside a chain: every preheating is charged, and the run ends when it cannot pay") {
  using Be = conformance::cpu_double;
  problem<Be> p;
  using chained = method<init::hrp<>, user::fold_every>;
  const chained m{
      .init = {.multiple = 2, .steps = 2}, .optim = {.lr = 1e-2}, .chain = {.period = 5}};
  const auto report = fit(m, p.net, p.batches, {.rank = 1, .steps = 20});
  CHECK(report.calibration_steps == 3 * 2);
  CHECK(report.steps == 14);
  const auto short_of_money = fit(m, p.net, p.batches, {.rank = 1, .steps = 9});
  CHECK(short_of_money.calibration_steps == 2);
  CHECK(short_of_money.steps == 5);
  CHECK(short_of_money.status == fit_status::completed);
}
