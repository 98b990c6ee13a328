// Initializations: PiSSA, exact and randomized, against PEFT and torch; and the laws of the random
// ones. PEFT's "orthogonal" is in inits_weight.cpp; its False (both factors random, the output moves)
// has no init here.
#include "fixtures.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/gaussian.hpp>
#include <preheat/init/kaiming.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using preheat::transpose;

// The peer computes in float, and so does PiSSA here.
using backend_type = preheat::cpu<float>;
using matrix = preheat::mat<backend_type>;
using site_type = preheat::target_layer<backend_type>;
using factors_type = preheat::factors<backend_type>;
constexpr double rtol = 2e-5;

site_type target_layer_of(const fixture& file, const matrix& W, std::uint64_t seed = 0) {
  return {.W = W,
          .rank = file.param<index_t>("r"),
          .scaling = float(file.param<double>("scaling")),
          .gen = preheat::generator(seed)};
}

// Product and base of a start whose product is subtracted from W.
void check_absorbed(const fixture& file, const dense& product, const dense& base,
                    const std::string& how) {
  check_close(file, "BA" + how, product, file.matrix("BA"), rtol);
  // Where rank r leaves little of W, the rounding of numbers of W's own size counts.
  const dense expected = file.matrix("W_base");
  const double rounding = 8 * std::numeric_limits<float>::epsilon() * file.matrix("W").norm();
  golden::check_within(file, "W_base" + how, base, expected,
                       std::max(rtol * expected.cwiseAbs().maxCoeff(), rounding));
}

dense product_of(const factors_type& f) {
  backend_type be;
  return host(be, f.B).lazyProduct(host(be, f.A));
}

// W − s·B·A
dense residual(const site_type& site, const factors_type& f) {
  backend_type be;
  matrix base = preheat::clone(be, site.W);
  be.gemm(-site.scaling, transpose::no, f.B, transpose::no, f.A, 1, base);
  return host(be, base);
}

// The init called by hand.
void check_pissa_alone(const fixture& file) {
  backend_type be;
  const matrix W(file.matrix("W"));
  const site_type site = target_layer_of(file, W);
  const factors_type f = preheat::init::pissa{}(be, site);
  CHECK(f.A.rows() == site.rank);
  check_absorbed(file, product_of(f), residual(site, f), ", init alone");

  // How S is shared between the factors, in a form without the signs of singular vectors.
  const dense A = host(be, f.A);
  const dense B = host(be, f.B);
  const dense stored_A = file.matrix("A");
  const dense stored_B = file.matrix("B");
  check_close(file, "A^T A", A.transpose().lazyProduct(A),
              stored_A.transpose().lazyProduct(stored_A), rtol);
  check_close(file, "B B^T", B.lazyProduct(B.transpose()),
              stored_B.lazyProduct(stored_B.transpose()), rtol);

  const index_t all = std::min(W.rows(), W.cols());
  const auto svd = preheat::linalg::truncated_svd<backend_type>(be, W, all);
  check_close(file, "S", host(be, svd.S), file.matrix("S"), rtol);
}

// The same start inside a training run, before its first step; the run finds s from α and the rank.
void check_pissa_in_run(const fixture& file) {
  backend_type be;
  const dense W = file.matrix("W");
  preheat::nn::least_squares<backend_type> net(be, matrix(W), matrix(W));
  auto batches = net.batches();
  const preheat::method<preheat::init::pissa> method;
  const double alpha = file.param<double>("lora_alpha");
  const auto run = preheat::start_run(method, net, batches,
                                      {.rank = file.param<index_t>("r"),
                                       .steps = 1,
                                       .scaling = preheat::scaling::over_rank(alpha)});
  const auto& adapted_layer = run.adapters.layers().at(0);
  CHECK(adapted_layer.scaling == float(file.param<double>("scaling")));
  check_absorbed(file, product_of(method.adapter.product(be, adapted_layer.parameters)),
                 host(be, net.layers()[0].W), ", in a run");
}

void check_pissa(const std::string& name) {
  const fixture file(name);
  check_pissa_alone(file);
  check_pissa_in_run(file);
}

// The norm of W_base that test matrices of our own leave, from the smallest to the largest.
std::vector<double> own_residuals(const fixture& file, const matrix& W,
                                  const preheat::init::pissa_randomized& init) {
  constexpr std::uint64_t draws = 9;
  backend_type be;
  std::vector<double> norms;
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    const site_type site = target_layer_of(file, W, seed);
    norms.push_back(residual(site, init(be, site)).norm());
  }
  std::sort(norms.begin(), norms.end());
  return norms;
}

// With torch's own test matrix the result is torch's. With another one the product may differ by
// tens of percent, but what is left in W is nearly the least that rank r can leave: for every draw
// with our oversampling; without it, as torch draws, only for most draws, and only after about as
// many power iterations as PEFT usually makes.
void check_pissa_randomized(const std::string& name) {
  const fixture file(name);
  backend_type be;
  const matrix W(file.matrix("W"));
  const matrix omega(file.matrix("Omega"));
  preheat::init::pissa_randomized init;
  init.power_iterations = file.param<index_t>("niter");
  const site_type site = target_layer_of(file, W);
  const factors_type given = init(be, site, preheat::const_view_of<backend_type>(omega));
  check_absorbed(file, product_of(given), residual(site, given), ", given Omega");

  const double least = residual(site, preheat::init::pissa{}(be, site)).norm();
  const std::vector<double> oversampled = own_residuals(file, W, init);
  CAPTURE(file.name());
  CHECK(oversampled.back() <= 1.1 * least);
  constexpr index_t usual_iterations = 4;
  if (init.power_iterations >= usual_iterations) {
    init.oversampling = 0;
    const std::vector<double> plain = own_residuals(file, W, init);
    CHECK(plain[plain.size() / 2] <= 1.1 * least);
  }
}

// Entries of many draws, enough that a standard deviation is known to well below 10 %.
struct sample {
  std::vector<double> entries;

  void add(const dense& values) {
    entries.insert(entries.end(), values.data(), values.data() + values.size());
  }
  double largest() const {
    double largest = 0;
    for (const double x : entries) {
      largest = std::max(largest, std::abs(x));
    }
    return largest;
  }
  // torch's: the squares about the mean, over one less than their number.
  double deviation() const {
    double sum = 0;
    for (const double x : entries) {
      sum += x;
    }
    const double mean = sum / double(entries.size());
    double squares = 0;
    for (const double x : entries) {
      squares += (x - mean) * (x - mean);
    }
    return std::sqrt(squares / double(entries.size() - 1));
  }
};

void check_deviation(const fixture& file, const std::string& what, const sample& drawn,
                     double expected) {
  const double found = drawn.deviation();
  CHECK_MESSAGE(
      std::abs(found - expected) <= 0.1 * expected,
      file.name() << ": " << what << ": standard deviation " << found << ", expected " << expected);
}

// U(−bound, bound) in float: no entry beyond the float next to the bound.
void check_uniform(const fixture& file, const std::string& what, const sample& drawn,
                   double bound) {
  const double limit = bound * (1 + 2 * double(std::numeric_limits<float>::epsilon()));
  CHECK_MESSAGE(drawn.largest() <= limit, file.name() << ": " << what << ": largest entry "
                                                      << drawn.largest() << ", bound " << bound);
  check_deviation(file, what, drawn, bound / std::sqrt(3.0));
}

// PEFT's sample of an init, checked against what the file says it measured.
sample stored_sample(const fixture& file, const std::string& init) {
  const dense A = file.matrix(init + ".A");
  const dense B = file.matrix(init + ".B");
  const dense W = file.matrix("W");
  const index_t rank = file.param<index_t>("r");
  REQUIRE(A.rows() == rank);
  REQUIRE(A.cols() == W.cols());
  REQUIRE(B.rows() == W.rows());
  REQUIRE(B.cols() == rank);
  CHECK(B.isZero(0));
  sample stored;
  stored.add(A);
  golden::check_number(file, init + "/A_max", stored.largest(), file.param<double>(init + "/A_max"),
                       1e-6);
  golden::check_number(file, init + "/A_std", stored.deviation(),
                       file.param<double>(init + "/A_std"), 1e-5);
  return stored;
}

// Many draws of one of our inits in the fixture's shapes; B is zero in each.
template <class T, class Init>
sample own_sample(const fixture& file, const Init& init) {
  static_assert(Init::product == preheat::initial_product::zero);  // so W is left alone
  using Be = preheat::cpu<T>;
  constexpr std::size_t enough = 20000;
  Be be;
  const preheat::mat<Be> W(file.matrix("W"));
  const index_t rank = file.param<index_t>("r");
  sample drawn;
  for (std::uint64_t seed = 0; drawn.entries.size() < enough; ++seed) {
    const preheat::target_layer<Be> site{.W = W, .rank = rank, .gen = preheat::generator(seed)};
    const preheat::factors<Be> f = init(be, site);
    const dense A = host(be, f.A);
    const dense B = host(be, f.B);
    REQUIRE(A.rows() == rank);
    REQUIRE(A.cols() == W.cols());
    REQUIRE(B.rows() == W.rows());
    REQUIRE(B.cols() == rank);
    REQUIRE(B.isZero(0));
    drawn.add(A);
  }
  return drawn;
}

}  // namespace

TEST_CASE("golden inits: pissa_tall") {
  check_pissa("inits/pissa_tall");
}
TEST_CASE("golden inits: pissa_wide") {
  check_pissa("inits/pissa_wide");
}
TEST_CASE("golden inits: pissa_niter_4_tall") {
  check_pissa_randomized("inits/pissa_niter_4_tall");
}
TEST_CASE("golden inits: pissa_niter_4_wide") {
  check_pissa_randomized("inits/pissa_niter_4_wide");
}

TEST_CASE("golden inits: random_laws of kaiming") {
  const fixture file("inits/random_laws");
  const double bound = 1 / std::sqrt(double(file.matrix("W").cols()));
  const preheat::init::kaiming init;
  check_uniform(file, "default.A", stored_sample(file, "default"), bound);
  check_uniform(file, "our A in float", own_sample<float>(file, init), bound);
  check_uniform(file, "our A in double", own_sample<double>(file, init), bound);
}

TEST_CASE("golden inits: random_laws of gaussian") {
  const fixture file("inits/random_laws");
  const double sigma = 1 / double(file.param<index_t>("r"));
  const preheat::init::gaussian init;
  check_deviation(file, "gaussian.A", stored_sample(file, "gaussian"), sigma);
  check_deviation(file, "our A in float", own_sample<float>(file, init), sigma);
  check_deviation(file, "our A in double", own_sample<double>(file, init), sigma);
}
