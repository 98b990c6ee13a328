// An adapter, an init and two optimizers that a user wrote (user_policies.hpp) take part in `fit`
// like the library's, on the CPU and on the archetype backend.
#include "user_policies.hpp"

#include <doctest/doctest.h>
#include <cmath>

#include "support/backends.hpp"
#include "support/small_problem.hpp"

using namespace preheat;
using conformance::problem;

TEST_CASE_TEMPLATE("user adapter: exact gradient, learns, merges", Be, PREHEAT_BACKENDS) {
  problem<Be> p;
  const double before = p.base_loss();
  const auto report =
      fit(method<user::scaled_outputs>{.optim = {.lr = 3e-2}}, p.net, p.batches, {.steps = 30});
  const double after = loss_with(p, report);
  CHECK(after < before - 0.01);
  CHECK(report.trainable_parameters == 11 + 9 + 3);
  CHECK(p.base_loss() == before);  // W is untouched until the merge
  merge(p.net, report);
  CHECK(p.base_loss() == doctest::Approx(after).epsilon(conformance::tolerance<Be>(16)));
}

TEST_CASE("user adapter: its gradient is the finite difference of the loss") {
  problem<conformance::cpu_double> p;
  adapted<conformance::cpu_double, user::scaled_outputs> linear(p.net);
  for (index_t l = 0; l < 3; ++l) {
    const index_t rows = p.net.layers()[l].W.rows();
    linear.attach(l, {linalg::uniform(p.be, rows, 1, 0.3, generator(std::uint64_t(l)))}, 1);
  }
  p.net.loss_and_gradient(p.all, linear);
  for (auto& s : linear.layers()) {
    for (index_t i = 0; i < s.parameters.l.rows(); ++i) {
      constexpr double h = 1e-5;
      double& entry = s.parameters.l.data()[i];
      const double at = entry;
      entry = at + h;
      const double up = p.net.loss(p.all, linear);
      entry = at - h;
      const double down = p.net.loss(p.all, linear);
      entry = at;
      CHECK(s.gradient.l.data()[i] == doctest::Approx((up - down) / (2 * h)).epsilon(1e-6));
    }
  }
}

TEST_CASE_TEMPLATE("user init with calibration: charged, finds the gradient's row space", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  // The gradient at W = 0 of ½‖W − M‖² is −M: its row space is that of M, of rank 2.
  const mat<Be> left = linalg::normal(be, 12, 2, 1, generator(1));
  const mat<Be> right = linalg::normal(be, 2, 9, 1, generator(2));
  mat<Be> M = linalg::product<Be>(be, transpose::no, left, transpose::no, right);
  nn::least_squares<Be> net(be, be.zeros(12, 9), std::move(M));
  const auto report = fit(method<user::one_step_directions, optim::sgd>{.optim = {.lr = 0}}, net,
                          net.batches(), {.rank = 2, .steps = 5});
  CHECK(report.steps == 4);
  CHECK(report.calibration_steps == 1);
  const mat<Be>& A = report.layers[0].parameters.A;
  mat<Be> outside = clone<Be>(be, right);  // what A's rows leave of M's
  const mat<Be> inside = linalg::product<Be>(be, transpose::no, right, transpose::yes, A);
  be.gemm(-1, transpose::no, inside, transpose::no, A, 1, outside);
  CHECK(double(be.max_abs(outside)) < conformance::tolerance<Be>(64));
}

TEST_CASE_TEMPLATE("user optimizer: every entry moves by the rate", Be, PREHEAT_BACKENDS) {
  problem<Be> p;
  auto r = start_run(method<user::sign_descent>{.optim = {.lr = 1e-2}}, p.net, p.batches,
                     {.rank = 2, .steps = 1});
  const auto before = p.be.download(r.adapters.layers()[1].parameters.B);
  r.step();
  const auto after = p.be.download(r.adapters.layers()[1].parameters.B);
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(std::abs(double(after[i] - before[i])) == doctest::Approx(1e-2).epsilon(1e-4));
  }
}

TEST_CASE_TEMPLATE("user decorator: a ridge penalty over SGD is SGD's weight decay", Be,
                   PREHEAT_BACKENDS) {
  problem<Be> a;
  problem<Be> b;
  const fit_options options{.rank = 2, .steps = 12};
  const auto decorated =
      fit(method<user::ridge<optim::sgd>>{.optim = {.base = {.lr = 0.1}, .lambda = 0.3}}, a.net,
          a.batches, options);
  const auto decayed =
      fit(method<optim::sgd>{.optim = {.lr = 0.1, .weight_decay = 0.3}}, b.net, b.batches, options);
  for (std::size_t l = 0; l < 3; ++l) {
    const auto x = a.be.download(decorated.layers[l].parameters.A);
    const auto y = b.be.download(decayed.layers[l].parameters.A);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(double(x[i]) == doctest::Approx(double(y[i])).epsilon(conformance::tolerance<Be>(8)));
    }
  }
}
