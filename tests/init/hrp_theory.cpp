// HRP on the problem of its theory: the closed forms of the asymmetric main stage, and the floor
// that a square frozen factor reaches.
#include "theory_problem.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cpu_double;

template <parameter_role Trained>
using main_stage = adapter::asymmetric<Trained>;

fit_options steps(index_t all) {
  return {.steps = all};
}

}  // namespace

// t → ∞ with A frozen and orthonormal: loss = ½‖M(I − AᵀA)‖²; with B frozen, ½‖(I − BBᵀ)M‖².
TEST_CASE("theory: an asymmetric main stage converges to the projection on its frozen factor") {
  theory problem{20, 15};
  const auto b = problem.run(
      method<main_stage<parameter_role::B>, init::orthogonal, optim::sgd>{.optim = {.lr = 0.5}},
      steps(80));
  const table a0 = read<Be>(problem.be, b.layers[0].parameters.A);
  const table right = problem.target - problem.target * transposed(a0) * a0;
  CHECK(problem.final_loss(b) == doctest::Approx(square_norm(right) / 2).epsilon(1e-12));

  const auto a = problem.run(
      method<main_stage<parameter_role::A>, init::orthogonal, optim::sgd>{.optim = {.lr = 0.5}},
      steps(80));
  const table b0 = read<Be>(problem.be, a.layers[0].parameters.B);
  const table left = problem.target - b0 * transposed(b0) * problem.target;
  CHECK(problem.final_loss(a) == doctest::Approx(square_norm(left) / 2).epsilon(1e-12));
}

// E ½‖M(I − AᵀA)‖² = ½(1 − r/n)‖M‖² for a uniform orthonormal A.
TEST_CASE("theory: a uniform frozen factor keeps r/n of the target on average") {
  Be be;
  const index_t n = 10;
  const index_t r = 3;
  const table target = with_spectrum(12, n, geometric(n, 0.7), 141);
  const mat<Be> W = be.zeros(12, n);
  constexpr int draws = 3000;
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < draws; ++i) {
    const target_layer<Be> where{
        .W = W, .rank = r, .gen = generator(9).fork(purpose::user, std::uint64_t(i))};
    const table a = read<Be>(be, init::orthogonal{}(be, where).A);
    const double loss = square_norm(target - target * transposed(a) * a) / 2;
    sum += loss;
    squares += loss * loss;
  }
  const double mean = sum / draws;
  const double deviation = std::sqrt((squares / draws - mean * mean) / draws);
  CHECK(std::abs(mean - 0.5 * (1 - double(r) / n) * square_norm(target)) < 5 * deviation);
  CHECK(deviation < 0.02 * mean);
}

// With the frozen factor of preheating square, the preheated product is a multiple of the target
// from the first step on, and its main vectors are exact: the floor ½Σ_{i>r}σ_i² is reached.
TEST_CASE("theory: a square frozen factor in preheating reaches the floor") {
  {  // train B, R = n; the main stage trains B too, on the right side
    theory problem{20, 15};
    method<main_stage<parameter_role::B>, init::hrp<warm_train_b>, optim::sgd> m{
        .optim = {.lr = 0.5}};
    m.init.rank = 15;
    m.init.steps = 2;
    const auto report = problem.run(m, steps(82));
    CHECK(problem.final_loss(report) == doctest::Approx(problem.floor(4)).epsilon(1e-12));
  }
  {  // train A, R = m <= n
    theory problem{15, 20};
    method<main_stage<parameter_role::A>, init::hrp<warm_train_a>, optim::sgd> m{
        .optim = {.lr = 0.5}};
    m.init.rank = 15;
    m.init.steps = 2;
    const auto report = problem.run(m, steps(82));
    CHECK(problem.final_loss(report) == doctest::Approx(problem.floor(4)).epsilon(1e-12));
  }
  {  // both sides of the exact product hold: train B's right vectors and train A's left ones
    theory problem{15, 20};
    method<main_stage<parameter_role::B>, init::hrp<warm_train_a>, optim::sgd> m{
        .optim = {.lr = 0.5}};
    m.init.rank = 15;
    m.init.steps = 2;
    const auto report = problem.run(m, steps(82));
    CHECK(problem.final_loss(report) == doctest::Approx(problem.floor(4)).epsilon(1e-12));
  }
}
