// The matrix problem of HRP's theory, ½‖W − B·A‖², against its closed forms: what is the best that
// a frozen factor allows, what is the best of a rank, and that training and PiSSA's start get
// there.
#include <algorithm>
#include <preheat/init/pissa.hpp>
#include <preheat/optim/sgd.hpp>
#include <preheat/train/fit.hpp>

#include "hrp_problem.hpp"
#include "stored_start.hpp"

namespace {

using golden::asymmetric;
using golden::check_close;
using golden::check_loss;
using golden::check_within;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using preheat::parameter_role;
using preheat::transpose;
using backend_type = golden::cpu_double;
using matrix = preheat::mat<backend_type>;

constexpr double best_rtol = 1e-10;

std::string numbered(const char* tensor, index_t rank) {
  return std::string(tensor) + "_" + std::to_string(rank);
}

using factors = golden::stored_factors;

// The loss at given factors, and the largest entry of the gradient of those that Adapter trains.
struct point {
  double loss = 0;
  double gradient = 0;
};
template <class Adapter>
point evaluate(const fixture& file, const factors& at) {
  backend_type be;
  golden::matrix_problem net = golden::problem_of(be, file);
  preheat::adapted<backend_type, Adapter> linear(net);
  linear.attach(0, {at.A, at.B}, 1);
  point here;
  here.loss = net.loss_and_gradient({}, linear);
  const auto largest = [&](auto, const auto& g) {
    here.gradient = std::max(here.gradient, be.max_abs(g));
  };
  preheat::for_each_trained(largest, linear.layers()[0].gradient);
  return here;
}

// Adapter cannot gain there: the loss is as expected and the gradient vanishes.
template <class Adapter>
void check_optimum(const fixture& file, const std::string& what, const factors& at,
                   double expected) {
  const point here = evaluate<Adapter>(file, at);
  const double a = at.A.norm();
  const double b = at.B.norm();
  const double magnitude = file.matrix("W").norm() + a * b;
  check_loss(file, what + " at its optimum", here.loss, expected, magnitude);
  check_within(file, "gradient at the optimum of " + what, dense::Constant(1, 1, here.gradient),
               dense::Zero(1, 1), 1e-14 * magnitude * std::max(a, b));
}

// Training by `fit` ends where the closed form says.
template <class Adapter>
void check_training(const fixture& file, const std::string& what, const factors& start,
                    const factors& optimum) {
  using start_type = golden::stored_start<preheat::initial_product::zero>;
  using method_type = preheat::method<Adapter, start_type, preheat::optim::sgd>;
  backend_type be;
  golden::matrix_problem net = golden::problem_of(be, file);
  method_type method;
  method.init.layers = {start};
  method.optim.lr = golden::half;
  const auto report = fit(method, net, net.batches(),
                          {.rank = start.A.rows(),
                           .steps = golden::halvings,
                           .scaling = preheat::scaling::constant(1)});
  const double magnitude = file.matrix("W").norm();
  check_loss(file, "best_loss at rank 0", report.losses.front(), file.matrix("best_loss")(0, 0),
             magnitude);
  auto trained = preheat::attach(net, report);
  check_loss(file, what + " after training", net.loss({}, trained), file.scalar(what), magnitude);
  const auto& p = report.layers.at(0).parameters;
  check_close(file, "A after training to " + what, host(be, p.A), optimum.A, best_rtol);
  check_close(file, "B after training to " + what, host(be, p.B), optimum.B, best_rtol);
}

// A frozen and B trained, then B frozen and A trained; the frozen factor is orthonormal.
void check_frozen(const fixture& file, index_t r) {
  const dense W = file.matrix("W");
  const std::string loss_a = numbered("lossA", r);
  const dense A = file.matrix(numbered("A", r));
  const factors optimum_a{A, file.matrix(numbered("Bstar", r))};
  check_optimum<asymmetric<parameter_role::B>>(file, loss_a, optimum_a, file.scalar(loss_a));
  check_training<asymmetric<parameter_role::B>>(file, loss_a, {A, dense::Zero(W.rows(), r)},
                                                optimum_a);

  const std::string loss_b = numbered("lossB", r);
  const dense B = file.matrix(numbered("B", r));
  const factors optimum_b{file.matrix(numbered("Astar", r)), B};
  check_optimum<asymmetric<parameter_role::A>>(file, loss_b, optimum_b, file.scalar(loss_b));
  check_training<asymmetric<parameter_role::A>>(file, loss_b, {dense::Zero(r, W.cols()), B},
                                                optimum_b);
}

// A frozen at a general G: the optimum is B = W·G⁺, that is R·Bᵀ = Qᵀ·Wᵀ for Gᵀ = Q·R.
void check_general(const fixture& file, index_t r) {
  backend_type be;
  const matrix W(file.matrix("W"));
  const matrix G_transposed(file.matrix(numbered("G", r)).transpose());
  const auto qr = be.qr(G_transposed);
  matrix B_transposed =
      preheat::linalg::product<backend_type>(be, transpose::yes, qr.Q, transpose::yes, W);
  be.solve_upper(transpose::no, qr.R, B_transposed);
  const factors optimum{file.matrix(numbered("G", r)), host(be, B_transposed).transpose()};
  const std::string loss = numbered("lossG", r);
  check_optimum<asymmetric<parameter_role::B>>(file, loss, optimum, file.scalar(loss));
}

// The best product of rank r, by PiSSA's start from the target itself. No product of that rank has
// a smaller loss, so the gradients of both factors vanish.
void check_best(const fixture& file, index_t r, bool has_gap) {
  backend_type be;
  const matrix W(file.matrix("W"));
  const preheat::target_layer<backend_type> site{.W = W, .rank = r};
  const preheat::factors<backend_type> f = preheat::init::pissa{}(be, site);
  const factors top{host(be, f.A), host(be, f.B)};
  const std::string what = "best_loss at rank " + std::to_string(r);
  check_optimum<preheat::adapter::lora>(file, what, top, file.matrix("best_loss")(r, 0));
  if (has_gap) {
    const std::string best = numbered("best", r);
    check_close(file, best, top.B.lazyProduct(top.A), file.matrix(best), best_rtol);
  }
}

void check_problem(const std::string& name) {
  const fixture file(name);
  const dense W = file.matrix("W");
  const dense sigma = file.matrix("sigma");
  const dense best_loss = file.matrix("best_loss");
  const index_t smaller = std::min(W.rows(), W.cols());
  REQUIRE(sigma.rows() == smaller);
  REQUIRE(best_loss.rows() == smaller + 1);

  backend_type be;
  const matrix target(W);
  const auto svd = preheat::linalg::truncated_svd<backend_type>(be, target, smaller);
  check_close(file, "sigma", host(be, svd.S), sigma, golden::loss_rtol);
  dense tails = dense::Zero(smaller + 1, 1);
  for (index_t r = smaller; r-- > 0;) {
    tails(r, 0) = tails(r + 1, 0) + sigma(r, 0) * sigma(r, 0) / 2;
  }
  check_close(file, "half the squares of the tail of sigma", tails, best_loss, golden::loss_rtol);

  const auto ranks = file.param<std::vector<index_t>>("ranks");
  REQUIRE_FALSE(ranks.empty());
  for (const index_t r : ranks) {
    const double next = r < smaller ? sigma(r, 0) : 0;
    const bool has_gap = sigma(r - 1, 0) - next > 1e-6 * sigma(0, 0);
    CAPTURE(r);
    check_frozen(file, r);
    check_general(file, r);
    check_best(file, r, has_gap);
  }
}

}  // namespace

TEST_CASE("golden hrp: problem_geometric") {
  check_problem("hrp/problem_geometric");
}
TEST_CASE("golden hrp: problem_power") {
  check_problem("hrp/problem_power");
}
TEST_CASE("golden hrp: problem_low_rank_plus_noise") {
  check_problem("hrp/problem_low_rank_plus_noise");
}
