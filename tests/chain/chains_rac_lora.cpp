// RAC-LoRA's theory: a step of the preconditioned chain is gradient descent seen through a random
// projection H, E[H] = (r/n)·I, and converges on a quadratic as fast as that says.
#include <preheat/nn/least_squares.hpp>

#include "chain_support.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Trains B with A drawn, or A with B drawn; orthonormal or Gaussian draws.
template <parameter_role Trained, class Init = init::orthogonal>
using rac =
    method<adapter::asymmetric<Trained>, Init, optim::scaled<optim::sgd>, chain::merge_every>;

template <parameter_role Trained, class Init = init::orthogonal>
rac<Trained, Init> every_step(double rate) {
  return {.optim = {.base = {.lr = rate}}, .chain = {.period = 1}};
}

// The projection onto the rows of A, and onto the columns of B.
table row_projection(const table& A) {
  return transposed(A) * inverse(A * transposed(A)) * A;
}
table column_projection(const table& B) {
  return row_projection(transposed(B));
}

// From W = 0 with the gradient I, one step of size γ/s² gives W = −γ·H.
template <class Be, class Method>
table projection_of_step(Be& be, const Method& m, index_t n, index_t r, std::uint64_t seed) {
  nn::least_squares<Be> net(be, be.zeros(n, n), matrix(be, -1.0 * identity(n)));
  const double s = 1.5;
  fit_options options{.rank = r, .steps = 1, .seed = seed, .scaling = scaling::constant(s)};
  fit(m, net, net.batches(), options);
  return -1 / (s * s * m.optim.base.lr) * read<Be>(be, net.layers()[0].W);
}

template <class Be, class Method>
void check_projection(const Method& m) {
  Be be;
  const index_t n = 7;
  for (const index_t r : {1, 3, 7}) {
    CAPTURE(r);
    const table H = projection_of_step(be, m, n, r, 3);
    double trace = 0;
    for (index_t i = 0; i < n; ++i) {
      trace += H(i, i);
    }
    const double tol = tolerance<Be>(n);
    CHECK(gap(H * H, H) < tol);
    CHECK(gap(transposed(H), H) < tol);
    CHECK(std::abs(trace - double(r)) < tol);
  }
}

// ‖mean of N draws − E‖² has the expectation (E‖H‖² − ‖E‖²)/N = (r − r²/n)/N.
template <class Method>
void check_mean(const Method& m) {
  cpu_double be;
  const index_t n = 6;
  const index_t r = 2;
  const int draws = 400;
  table mean(n, n);
  for (int seed = 0; seed < draws; ++seed) {
    mean = mean + 1.0 / draws * projection_of_step(be, m, n, r, std::uint64_t(seed));
  }
  const double expected = (double(r) - double(r * r) / double(n)) / draws;
  const double found = square_norm(mean - double(r) / double(n) * identity(n));
  CHECK(found < 4 * expected);
  CHECK(found > expected / 4);
}

// Four blocks of one step: W moves by −η·s²·G·H (train B) or −η·s²·H·G (train A).
template <class Be, parameter_role Trained>
void check_step() {
  chain_problem<Be> p({{5, 4}, {4, 6}});
  const double rate = 0.03;
  rac<Trained> m = every_step<Trained>(rate);
  m.init.row_norm = 1.7;
  auto run = start_run(m, p.net, p.batches, settings(2));
  auto expected = p.net.weights();
  for (index_t k = 0; k < 4; ++k) {
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      const auto& now = run.adapters.layers()[l].parameters;
      const table G = p.data.gradient(l, expected[l], regression_data::batch(k));
      const table change = Trained == parameter_role::B ? G * row_projection(p.read(now.A))
                                                        : column_projection(p.read(now.B)) * G;
      expected[l] = expected[l] - rate * 1.5 * 1.5 * change;
      CHECK(gap(p.whole(run, l), expected[l]) < tolerance<Be>(4));
      CHECK(gap(change, G) > 0.1);
    }
  }
}

// At r = n (train B) or r = m (train A) the projection changes nothing.
template <class Be, parameter_role Trained, class Init = init::orthogonal>
void check_full_rank() {
  chain_problem<Be> p(Trained == parameter_role::B
                          ? std::vector<std::pair<index_t, index_t>>{{4, 4}, {6, 4}}
                          : std::vector<std::pair<index_t, index_t>>{{4, 4}, {4, 6}});
  const double rate = 0.04;
  auto run = start_run(every_step<Trained, Init>(rate), p.net, p.batches, settings(4));
  auto expected = p.net.weights();
  const auto start = expected;
  double condition = 1;  // of a Gram matrix
  for (index_t k = 0; k < 8; ++k) {
    run.step();
    for (std::size_t l = 0; l < 2; ++l) {
      const auto& now = run.adapters.layers()[l].parameters;
      const auto sigma =
          singular_values(p.be, p.read(Trained == parameter_role::B ? now.A : now.B));
      condition = std::max(condition, std::pow(sigma.front() / sigma.back(), 2));
      expected[l] = expected[l] -
                    rate * 1.5 * 1.5 * p.data.gradient(l, expected[l], regression_data::batch(k));
      CHECK(gap(p.whole(run, l), expected[l]) < tolerance<Be>(4) * condition);
      CHECK(gap(expected[l], start[l]) > 0.1);
    }
  }
  CHECK(condition < 1e6);
}

// f = ½‖W − M‖², L = μ = 1, γ = 1: every block multiplies E[f] by 1 − γμλ = 1 − r/n, which the PL
// bound says too, and the mean squared gradient of T steps is at most 2(f₀ − f*)/(λγT).
template <parameter_role Trained>
void check_convergence(index_t blocks_done) {
  cpu_double be;
  const index_t m = 6;
  const index_t n = 9;
  const index_t r = 2;
  const double lambda = double(r) / double(Trained == parameter_role::B ? n : m);
  const double f0 = square_norm(random_table(m, n, 11)) / 2;
  const int seeds = 200;
  double sum = 0;
  double squares = 0;
  double gradients = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    nn::least_squares<cpu_double> net(be, be.zeros(m, n), matrix(be, random_table(m, n, 11)));
    fit_options options{.rank = r, .steps = blocks_done, .seed = std::uint64_t(seed)};
    const auto report = fit(every_step<Trained>(0.25), net, net.batches(), options);  // s = 2
    double last = f0;
    for (const double f : report.losses) {
      CHECK(f <= last * (1 + 1e-12));
      last = f;
      gradients += 2 * f / double(seeds * blocks_done);
    }
    base_operator<cpu_double> base(net);
    const double f = net.loss({}, base) / f0;
    sum += f;
    squares += f * f;
  }
  const double mean = sum / seeds;
  const double error = std::sqrt((squares / seeds - mean * mean) / seeds);  // of the mean
  const double bound = std::pow(1 - lambda, double(blocks_done));
  CHECK(mean < bound + 4 * error);
  CHECK(mean > bound - 4 * error);
  CHECK(error < 0.1 * bound);
  CHECK(gradients < 2 * f0 / (lambda * double(blocks_done)));
}

}  // namespace

TEST_CASE_TEMPLATE("rac_lora: the H of a step is an orthogonal projection of rank r", Be,
                   PREHEAT_BACKENDS) {
  check_projection<Be>(every_step<parameter_role::B>(0.5));
  check_projection<Be>(every_step<parameter_role::A>(0.5));
}

TEST_CASE("rac_lora: the mean of H over draws tends to (r/n)·I") {
  check_mean(every_step<parameter_role::B>(0.5));
  check_mean(every_step<parameter_role::A>(0.5));
  check_mean(every_step<parameter_role::B, init::gaussian>(0.5));
}

TEST_CASE_TEMPLATE("rac_lora: a step from a fresh start is W − η·s²·G·H, or H·G with A trained", Be,
                   PREHEAT_BACKENDS) {
  check_step<Be, parameter_role::B>();
  check_step<Be, parameter_role::A>();
}

TEST_CASE_TEMPLATE("rac_lora: at full rank it is gradient descent", Be, PREHEAT_BACKENDS) {
  check_full_rank<Be, parameter_role::B>();
  check_full_rank<Be, parameter_role::A>();
}

TEST_CASE("rac_lora: at full rank it is gradient descent for Gaussian draws too") {
  check_full_rank<cpu_double, parameter_role::B, init::gaussian>();
  check_full_rank<cpu_double, parameter_role::A, init::gaussian>();
}

TEST_CASE("rac_lora: on a quadratic the loss falls as the PL bound says, with either side") {
  for (const index_t blocks_done : {1, 4, 10}) {
    check_convergence<parameter_role::B>(blocks_done);
    check_convergence<parameter_role::A>(blocks_done);
  }
}
