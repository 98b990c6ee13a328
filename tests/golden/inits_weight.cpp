// Initializations from the weight alone, against PEFT: OLoRA and MiCA; and PEFT's "orthogonal", by
// its laws. The sample of False in random_laws (both factors random, the output moves; PEFT keeps
// it for debugging) has no init in the library, and is not read.
#include <algorithm>
#include <cmath>
#include <limits>
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/mica.hpp>
#include <preheat/init/olora.hpp>
#include <preheat/init/peft_orthogonal.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/train/fit.hpp>

#include "fixtures.hpp"

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using train_a = preheat::adapter::asymmetric<preheat::parameter_role::A>;

template <class Be>
preheat::target_layer<Be> target_layer_of(
    const fixture& file, const preheat::mat<Be>& W,
    preheat::singular_side directions = preheat::singular_side::automatic) {
  return {.W = W,
          .rank = file.param<index_t>("r"),
          .scaling = typename Be::scalar(file.param<double>("scaling")),
          .side = directions};
}

// What a run has before its first step: the base and the factors. It finds s from α and the rank.
struct started {
  dense W, A, B;
};
template <class Be, class Method>
started start(const fixture& file) {
  Be be;
  const dense W = file.matrix("W");
  preheat::nn::least_squares<Be> net(be, preheat::mat<Be>(W), preheat::mat<Be>(W));
  auto batches = net.batches();
  const auto run = preheat::start_run(
      Method{}, net, batches,
      {.rank = file.param<index_t>("r"),
       .steps = 1,
       .scaling = preheat::scaling::over_rank(file.param<double>("lora_alpha"))});
  const auto& adapted_layer = run.adapters.layers().at(0);
  CHECK(adapted_layer.scaling == typename Be::scalar(file.param<double>("scaling")));
  return {host(be, net.layers()[0].W), host(be, adapted_layer.parameters.A),
          host(be, adapted_layer.parameters.B)};
}

// OLoRA: the product and the base from which it is subtracted; the factors up to the signs of the QR.
template <class T>
void check_olora(const fixture& file) {
  using Be = preheat::cpu<T>;
  constexpr double rtol = 2e-5;
  Be be;
  const preheat::mat<Be> W(file.matrix("W"));
  const auto f = preheat::init::olora{}(be, target_layer_of<Be>(file, W));
  const dense A = host(be, f.A);
  const dense B = host(be, f.B);
  REQUIRE(A.rows() == file.param<index_t>("r"));
  check_close(file, "BA", B.lazyProduct(A), file.matrix("BA"), rtol);
  check_close(file, "|A|", A.cwiseAbs(), file.matrix("A").cwiseAbs(), rtol);
  check_close(file, "|B|", B.cwiseAbs(), file.matrix("B").cwiseAbs(), rtol);

  const started run = start<Be, preheat::method<preheat::init::olora>>(file);
  check_close(file, "BA in a run", run.B.lazyProduct(run.A), file.matrix("BA"), rtol);
  const double rounding = 8 * std::numeric_limits<float>::epsilon() * file.matrix("W").norm();
  const dense base = file.matrix("W_base");
  golden::check_within(file, "W_base", run.W, base,
                       std::max(rtol * base.cwiseAbs().maxCoeff(), rounding));
}

// MiCA: A is zero, the columns of B are PEFT's up to sign, the base is W bitwise.
template <class T>
void check_mica(const fixture& file) {
  using Be = preheat::cpu<T>;
  constexpr double rtol = 1e-5;
  Be be;
  const preheat::mat<Be> W(file.matrix("W"));
  const auto f =
      preheat::init::mica{}(be, target_layer_of<Be>(file, W, preheat::singular_side::left));
  const started run = start<Be, preheat::method<train_a, preheat::init::mica>>(file);
  const dense stored = file.matrix("B");
  CHECK(run.A.isZero(0));
  check_close(file, "A", host(be, f.A), file.matrix("A"), 0);
  check_close(file, "W_base", run.W, file.matrix("W_base"), 0);
  for (dense B : {host(be, f.B), run.B}) {
    REQUIRE(B.cols() == stored.cols());
    for (index_t j = 0; j < B.cols(); ++j) {
      B.col(j) *= B.col(j).dot(stored.col(j)) < 0 ? -1 : 1;
    }
    check_close(file, "B up to sign", B, stored, rtol);
  }
}

void check_both(const std::string& name, void (*in_float)(const fixture&),
                void (*in_double)(const fixture&)) {
  const fixture file(name);
  in_float(file);
  in_double(file);
}

// What INDEX lists as laws of a pair: |B·A| <= 1e-6, ranks of r/2, and entries whose variance is
// that of N(0, 1)/10 seen through half of an orthonormal basis, within 10 % over many entries.
double deviation(const std::vector<dense>& draws) {
  double squares = 0;
  double count = 0;
  for (const dense& x : draws) {
    squares += x.squaredNorm();
    count += double(x.size());
  }
  return std::sqrt(squares / count);
}
void check_pair(const fixture& file, const dense& A, const dense& B) {
  const index_t r = file.param<index_t>("r");
  REQUIRE(A.rows() == r);
  REQUIRE(B.cols() == r);
  CHECK(B.lazyProduct(A).cwiseAbs().maxCoeff() <= 1e-6);
  preheat::cpu<double> be;
  for (const auto& [factor, key] : {std::pair{A, "rank_A"}, {B, "rank_B"}}) {
    const preheat::mat<preheat::cpu<double>> M(factor);
    const dense S = host(be, be.svd(M).S);
    const auto above = [&](double x) { return x > 1e-5 * S(0); };
    CHECK(std::count_if(S.data(), S.data() + S.size(), above) ==
          file.param<index_t>(std::string("orthogonal/") + key));
  }
}
template <class T>
void check_draws(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  const preheat::mat<Be> W(file.matrix("W"));
  std::vector<dense> all_A, all_B;
  constexpr index_t enough = 20000;
  for (std::uint64_t seed = 0; index_t(seed) * W.rows() * file.param<index_t>("r") < enough;
       ++seed) {
    const preheat::target_layer<Be> site{
        .W = W, .rank = file.param<index_t>("r"), .gen = preheat::generator(seed)};
    const auto f = preheat::init::peft_orthogonal{}(be, site);
    all_A.push_back(host(be, f.A));
    all_B.push_back(host(be, f.B));
    check_pair(file, all_A.back(), all_B.back());
  }
  const double expected = 0.1 / std::sqrt(2.0);
  CHECK(std::abs(deviation(all_A) - expected) <= 0.1 * expected);
  CHECK(std::abs(deviation(all_B) - expected) <= 0.1 * expected);
}

}  // namespace

TEST_CASE("golden inits: olora_tall") {
  check_both("inits/olora_tall", check_olora<float>, check_olora<double>);
}
TEST_CASE("golden inits: olora_wide") {
  check_both("inits/olora_wide", check_olora<float>, check_olora<double>);
}
TEST_CASE("golden inits: mica_tall") {
  check_both("inits/mica_tall", check_mica<float>, check_mica<double>);
}
TEST_CASE("golden inits: mica_wide") {
  check_both("inits/mica_wide", check_mica<float>, check_mica<double>);
}

// PEFT's sample obeys the laws that preheat's must obey; the base is not touched by either.
TEST_CASE("golden inits: random_laws of orthogonal") {
  const fixture file("inits/random_laws");
  const dense A = file.matrix("orthogonal.A");
  const dense B = file.matrix("orthogonal.B");
  check_pair(file, A, B);
  golden::check_number(file, "orthogonal/A_max", A.cwiseAbs().maxCoeff(),
                       file.param<double>("orthogonal/A_max"), 1e-6);
  CHECK(file.param<double>("orthogonal/base_change") == 0);
  static_assert(preheat::method<preheat::init::peft_orthogonal>::leaves_base);
  check_draws<float>(file);
  check_draws<double>(file);
}
