// Which side of the preheated product carries the directions: 40×30, σ_i = 0.7^i, rank 4, R = 16,
// 5 + 60 steps of gradient descent with rate 0.1. With one factor frozen in preheating the product
// lies in that factor's random space on its side, so the side of the trained factor is the better.
//
// Expected final losses, means over draws (an independent program; floor 0.0565):
//   train A -> right 0.064, left 0.118;   train B -> left 0.061, right 0.095
//   classic -> left 0.067, right 0.121;   no preheating: 0.186
//   an asymmetric main stage, train B, from train A's right side 0.077; no preheating: 0.852
#include "theory_problem.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using warm_classic = method<adapter::lora, init::kaiming, optim::sgd>;
constexpr int draws = 12;

// The mean final loss over seeds.
template <class Method>
double mean_loss(Method m) {
  theory problem{40, 30};
  learning_rate(m.optim) = 0.1;
  double sum = 0;
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    const auto report = problem.run(m, {.steps = 65, .seed = seed});
    CHECK(report.steps + report.calibration_steps == 65);
    sum += problem.final_loss(report) / draws;
  }
  return sum;
}

template <class Preheat>
double preheated_loss(singular_side chosen) {
  method<init::hrp<Preheat>, optim::sgd> m;
  m.init.rank = 16;
  m.init.steps = 5;
  m.init.side = chosen;
  return mean_loss(m);
}

}  // namespace

TEST_CASE("orientation: the side of the trained factor is the better one") {
  const double a_right = preheated_loss<warm_train_a>(singular_side::right);
  const double a_left = preheated_loss<warm_train_a>(singular_side::left);
  const double b_left = preheated_loss<warm_train_b>(singular_side::left);
  const double b_right = preheated_loss<warm_train_b>(singular_side::right);
  const double random = mean_loss(method<optim::sgd>{});
  const double floor = theory{40, 30}.floor(4);
  CHECK(floor == doctest::Approx(0.0565).epsilon(1e-3));
  CHECK(floor < a_right);
  CHECK(a_right < a_left);
  CHECK(floor < b_left);
  CHECK(b_left < b_right);
  CHECK(a_left < random);
  CHECK(b_right < random);
  CHECK(a_right == doctest::Approx(0.064).epsilon(0.05));
  CHECK(a_left == doctest::Approx(0.118).epsilon(0.05));
  CHECK(b_left == doctest::Approx(0.061).epsilon(0.05));
  CHECK(b_right == doctest::Approx(0.095).epsilon(0.05));
  CHECK(random == doctest::Approx(0.186).epsilon(0.1));
  // Automatic takes it.
  CHECK(preheated_loss<warm_train_a>(singular_side::automatic) == a_right);
  CHECK(preheated_loss<warm_train_b>(singular_side::automatic) == b_left);
}

TEST_CASE("orientation: short classic preheating knows its left side better") {
  const double left = preheated_loss<warm_classic>(singular_side::left);
  const double right = preheated_loss<warm_classic>(singular_side::right);
  CHECK(left < right);
  CHECK(left == doctest::Approx(0.067).epsilon(0.05));
  CHECK(right == doctest::Approx(0.121).epsilon(0.1));
}

TEST_CASE("orientation: an asymmetric main stage gains most from preheating") {
  using trained_b = adapter::asymmetric<parameter_role::B>;
  method<trained_b, init::hrp<warm_train_a>, optim::sgd> m;
  m.init.rank = 16;
  m.init.steps = 5;
  const double hot = mean_loss(m);
  const double random = mean_loss(method<trained_b, init::orthogonal, optim::sgd>{});
  CHECK(hot == doctest::Approx(0.077).epsilon(0.05));
  CHECK(random == doctest::Approx(0.852).epsilon(0.05));
}
