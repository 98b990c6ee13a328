// HRP itself on the matrix problem: preheating that trains against a square frozen factor learns
// the whole target. Its directions are then the best ones, and the main run, in which they are
// frozen, reaches the best loss of its rank.
#include <preheat/init/hrp.hpp>
#include <preheat/optim/sgd.hpp>
#include <preheat/train/fit.hpp>

#include "hrp_problem.hpp"

namespace {

using golden::asymmetric;
using golden::fixture;
using golden::index_t;
using preheat::parameter_role;

template <parameter_role Preheating, parameter_role Main>
void check_rank(const fixture& file, index_t r, index_t warm_rank) {
  using warm_type =
      preheat::method<asymmetric<Preheating>, preheat::init::orthogonal, preheat::optim::sgd>;
  using method_type =
      preheat::method<asymmetric<Main>, preheat::init::hrp<warm_type>, preheat::optim::sgd>;
  golden::cpu_double be;
  golden::matrix_problem net = golden::problem_of(be, file);
  method_type method;
  method.init.rank = warm_rank;
  method.init.steps = golden::halvings;
  method.optim.lr = golden::half;
  const auto report =
      fit(method, net, net.batches(),
          {.rank = r, .steps = 2 * golden::halvings, .scaling = preheat::scaling::constant(1)});
  CHECK(report.calibration_steps == golden::halvings);
  auto trained = preheat::attach(net, report);
  golden::check_loss(file, "best_loss by HRP at rank " + std::to_string(r), net.loss({}, trained),
                     file.matrix("best_loss")(r, 0), file.matrix("W").norm());
}

// With B trained, the square factor is A, n×n; it must not exceed min(m, n). Otherwise A is.
void check_preheated(const std::string& name) {
  const fixture file(name);
  const auto W = file.matrix("W");
  const auto ranks = file.param<std::vector<index_t>>("ranks");
  REQUIRE_FALSE(ranks.empty());
  for (const index_t r : ranks) {
    if (W.cols() <= W.rows()) {
      check_rank<parameter_role::B, parameter_role::A>(file, r, W.cols());
    } else {
      check_rank<parameter_role::A, parameter_role::B>(file, r, W.rows());
    }
  }
}

}  // namespace

TEST_CASE("golden hrp: problem_geometric preheated") {
  check_preheated("hrp/problem_geometric");
}
TEST_CASE("golden hrp: problem_power preheated") {
  check_preheated("hrp/problem_power");
}
TEST_CASE("golden hrp: problem_low_rank_plus_noise preheated") {
  check_preheated("hrp/problem_low_rank_plus_noise");
}
