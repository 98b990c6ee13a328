// The scaled gradient of a pair (A, B) by itself: by its formula, the same for every split of a
// product, and finite where a Gram matrix has no inverse.
#include <algorithm>

#include "chain/chain_support.hpp"

using namespace conformance;
using namespace preheat;

namespace {

constexpr index_t m = 6;
constexpr index_t n = 7;
constexpr index_t r = 3;
constexpr double rate = 0.05;

struct pair {
  table A, B;
};
const pair given{random_table(r, n, 81), random_table(m, r, 82)};
const table G = random_table(m, n, 83);  // of W, whatever the pair

// The gradients of s·B·A with s = 1.
pair gradient_of(const pair& p) {
  return {transposed(p.B) * G, G * transposed(p.A)};
}

// One step with the given gradient, by the library. Frozen factors have no gradient.
template <class Be, class Adapter = adapter::lora, class Optim>
pair stepped(const Optim& optim, const pair& p, const pair& gradient) {
  using params = typename Adapter::template params<Be>;
  Be be;
  params now{matrix(be, p.A), matrix(be, p.B)};
  params g = zeros_like(be, now);
  for_each_trained(
      [&](auto parameter, auto& x) {
        write(be, parameter.role == parameter_role::A ? gradient.A : gradient.B, view_of<Be>(x));
      },
      g);
  auto state = optim.start(be, now);
  step_context context;
  context.learning_rate = rate;
  optim.step(be, now, g, state, context);
  return {read<Be>(be, now.A), read<Be>(be, now.B)};
}

// (C + δI)⁻¹
table damped(const table& C, double delta) {
  return inverse(C + delta * identity(C.rows));
}
table gram(const table& rows) {
  return rows * transposed(rows);
}

template <class Be>
double condition(const table& factor) {
  Be be;
  const auto sigma = singular_values(be, factor);
  return std::pow(sigma.front() / sigma.back(), 2);
}

}  // namespace

TEST_CASE_TEMPLATE("scaled: each gradient by the other factor's Gram matrix before the step", Be,
                   PREHEAT_BACKENDS) {
  const double tol =
      tolerance<Be>(4) * std::max(condition<Be>(given.A), condition<Be>(transposed(given.B)));
  const pair g = gradient_of(given);
  for (const double delta : {0.0, 1e-2, 3.0}) {
    CAPTURE(delta);
    const optim::scaled<> optim{.delta = delta};
    const table A = given.A - rate * (damped(gram(transposed(given.B)), delta) * g.A);
    const table B = given.B - rate * (g.B * damped(gram(given.A), delta));
    const pair both = stepped<Be>(optim, given, g);
    CHECK(gap(both.A, A) < tol);
    CHECK(gap(both.B, B) < tol);
    const pair a = stepped<Be, adapter::asymmetric<parameter_role::A>>(optim, given, g);
    CHECK(gap(a.A, A) < tol);
    CHECK(gap(a.B, given.B) < tolerance<Be>(1));
    const pair b = stepped<Be, adapter::asymmetric<parameter_role::B>>(optim, given, g);
    CHECK(gap(b.B, B) < tol);
    CHECK(gap(b.A, given.A) < tolerance<Be>(1));
  }
}

TEST_CASE_TEMPLATE("scaled: the base optimizer gets the scaled gradient, from its first step on",
                   Be, PREHEAT_BACKENDS) {
  const pair g = gradient_of(given);
  const pair scaled_gradient{damped(gram(transposed(given.B)), 0.1) * g.A,
                             g.B * damped(gram(given.A), 0.1)};
  // Adam's first direction is g/(|g| + ε), and AdamW decays the weights apart from it.
  const double epsilon_of_adam = 0.3;
  const double keep = 1 - rate * 0.2;
  const auto moved = [&](const table& x, const table& gradient) {
    return keep * x -
           rate * mapped(gradient, [&](double d) { return d / (std::abs(d) + epsilon_of_adam); });
  };
  const optim::scaled<optim::adamw> optim{.base = {.epsilon = epsilon_of_adam, .weight_decay = 0.2},
                                          .delta = 0.1};
  const pair found = stepped<Be>(optim, given, g);
  CHECK(gap(found.A, moved(given.A, scaled_gradient.A)) < tolerance<Be>(8));
  CHECK(gap(found.B, moved(given.B, scaled_gradient.B)) < tolerance<Be>(8));
}

TEST_CASE_TEMPLATE("scaled: the product moves alike for every split of it", Be, PREHEAT_BACKENDS) {
  // B·M and M⁻¹·A, with M of condition number about 10 and 100.
  for (const double stretch : {10.0, 100.0}) {
    const table M = random_table(r, r, 84) * diagonal({1, std::sqrt(stretch), stretch});
    pair one = given;
    pair other{inverse(M) * given.A, given.B * M};
    double worst = 1;
    for (int k = 0; k < 3; ++k) {
      worst = std::max({worst, condition<Be>(one.A), condition<Be>(other.A),
                        condition<Be>(transposed(other.B))});
      one = stepped<Be>(optim::scaled<>{}, one, gradient_of(one));
      other = stepped<Be>(optim::scaled<>{}, other, gradient_of(other));
      CHECK(gap(one.B * one.A, other.B * other.A) <
            tolerance<Be>(1) * worst * largest(given.B * given.A));
    }
    CHECK(gap(one.B * one.A, given.B * given.A) > 0.05);
  }
}

TEST_CASE_TEMPLATE("scaled: from B = 0 the step of A is zero, that of B is scaled", Be,
                   PREHEAT_BACKENDS) {
  const pair fresh{given.A, table(m, r)};
  const pair g = gradient_of(fresh);
  Be be;
  const table unmoved = read<Be>(be, matrix(be, given.A));
  for (const double delta : {0.0, 1e-2}) {
    const pair after = stepped<Be>(optim::scaled<>{.delta = delta}, fresh, g);
    CHECK(same(after.A, unmoved));
    CHECK(gap(after.B, -rate * (g.B * damped(gram(given.A), delta))) <
          tolerance<Be>(4) * condition<Be>(given.A));
  }
  // The pseudoinverse of 0 is 0, whatever it is multiplied with.
  CHECK(same(stepped<Be>(optim::scaled<>{}, fresh, {given.A, g.B}).A, unmoved));
  // Both zero: nothing moves, nothing is divided by zero.
  const pair nothing{table(r, n), table(m, r)};
  const pair after = stepped<Be>(optim::scaled<>{}, nothing, gradient_of(nothing));
  CHECK(largest(after.A) == 0);
  CHECK(largest(after.B) == 0);
}

TEST_CASE_TEMPLATE("scaled: of a rank-deficient pair the product moves as that of its full part",
                   Be, PREHEAT_BACKENDS) {
  // Three ranks that span two: the third row of A and column of B are sums of the first two.
  const table mix = [] {
    table t(3, 2);
    t(0, 0) = t(1, 1) = t(2, 0) = t(2, 1) = 1;
    return t;
  }();
  const pair two{random_table(2, n, 85), random_table(m, 2, 86)};
  const pair three{mix * two.A, two.B * transposed(mix)};
  const pair after = stepped<Be>(optim::scaled<>{}, three, gradient_of(three));
  CHECK(std::isfinite(largest(after.A)));
  CHECK(std::isfinite(largest(after.B)));
  // To first order in the rate, G·P_A + P_B·G, with the projections of the two ranks.
  const table PA = transposed(two.A) * inverse(gram(two.A)) * two.A;
  const table PB = two.B * inverse(gram(transposed(two.B))) * transposed(two.B);
  const table B = three.B;
  const table A = three.A;
  const table second = (after.B - B) * (after.A - A);
  const double tol = tolerance<Be>(8) * condition<Be>(two.A) * condition<Be>(transposed(two.B));
  CHECK(gap(after.B * after.A - B * A - second, -rate * (G * PA + PB * G)) < tol);
  CHECK(largest(after.A - A) < 100 * largest(A));
  CHECK(largest(after.B - B) < 100 * largest(B));
}

TEST_CASE("scaled: a negative damping is refused, and the learning rate is the base's") {
  cpu_double be;
  const adapter::lora::params<cpu_double> p{matrix(be, given.A), matrix(be, given.B)};
  CHECK_THROWS_AS(optim::scaled<>{.delta = -1e-3}.start(be, p), invalid_argument);
  CHECK_THROWS_AS(optim::scaled<>{.delta = std::nan("")}.start(be, p), invalid_argument);
  CHECK_NOTHROW(optim::scaled<>{}.start(be, p));
  optim::scaled<optim::scaled<>> nested;
  learning_rate(nested) = 0.7;
  CHECK(nested.base.base.lr == 0.7);
}

TEST_CASE("scaled: the base's moments are saved with a run, and follow changes of rank") {
  const with<cola, optim::scaled<optim::adamw>> chained{
      .optim = {.base = {.lr = 0.1}, .delta = 1e-2}, .chain = {.period = period}};
  check_resume(chained, 6);
  chain_problem<cpu_double> p(four_layers);
  auto run = start_run(chained, p.net, p.batches, settings(3));
  run.step();
  run.step();
  auto& adam = run.adapters.optimizer(0).base;
  const table moment = p.read(adam.m.A);
  CHECK(largest(moment) > 0);
  run.select_ranks(0, {2, 0}, 0);
  const table kept = p.read(adam.m.A);
  REQUIRE(kept.rows == 2);
  for (index_t j = 0; j < kept.cols; ++j) {
    CHECK(kept(0, j) == moment(2, j));
    CHECK(kept(1, j) == moment(0, j));
  }
  const auto report = run.run_to_end();
  CHECK(report.status == fit_status::completed);
  CHECK(report.steps == steps);
}
