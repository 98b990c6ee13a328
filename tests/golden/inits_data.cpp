// Initializations that learn from the layer's inputs, CorDA and EVA, against PEFT: from the recorded
// inputs by hand, and inside a run on a network that sees those inputs.
#include "fixtures.hpp"

#include <algorithm>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/corda.hpp>
#include <preheat/init/eva.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/train/fit.hpp>

namespace {

using golden::check_close;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;

// PEFT computes these in float; so do we, and in double too.
constexpr double covariance_rtol = 1e-5;
constexpr double corda_rtol = 1e-4;
constexpr double eva_rtol = 1e-5;
constexpr double redistributed_rtol = 1e-4;

template <class Be>
using network = preheat::nn::mlp<Be, preheat::nn::mean_squared>;

// The recorded inputs, one batch after the other, for ever.
template <class Be>
struct recorded_batches {
  Be& be;
  std::vector<dense> inputs;  // features × tokens
  index_t outputs = 0;

  void load(const preheat::generator&, index_t step, preheat::nn::labelled_batch<Be>& batch) {
    const dense& X = inputs[std::size_t(step) % inputs.size()];
    batch.X = preheat::mat<Be>(X);
    batch.target = be.zeros(outputs, X.cols());
  }
};

// A network of linear layers with these weights, without biases where there are none.
template <class Be>
network<Be> network_of(Be& be, const std::vector<std::pair<dense, dense>>& weights) {
  std::vector<preheat::base_layer<Be>> layers;
  for (const auto& [W, b] : weights) {
    layers.push_back({"fc" + std::to_string(layers.size() + 1), preheat::mat<Be>(W),
                      b.size() > 0 ? preheat::mat<Be>(b) : preheat::mat<Be>{}});
  }
  return {be, std::move(layers)};
}

// X0, X1, … of a file.
std::vector<dense> recorded_inputs(const fixture& file) {
  std::vector<dense> inputs;
  for (const index_t k : file.numbers_after("X")) {
    inputs.push_back(file.tokens("X" + std::to_string(k)));
  }
  if (inputs.empty()) {
    file.fail("has no batches X0, X1 …");
  }
  return inputs;
}

preheat::init::corda corda_of(const fixture& file, index_t batches) {
  const std::string mode = file.param<std::string>("method");
  if (mode != "ipm" && mode != "kpm") {
    file.fail("has another method than ipm and kpm");
  }
  return {.mode = mode == "ipm" ? preheat::init::corda_mode::ipm : preheat::init::corda_mode::kpm,
          .batches = batches,
          .damping = file.param<double>("damp")};
}

// Factors and base of a CorDA start; A and B by forms without the signs of singular vectors.
void check_corda_start(const fixture& file, const dense& A, const dense& B, const dense& base,
                       const std::string& how) {
  const dense stored_A = file.matrix("A");
  const dense stored_B = file.matrix("B");
  REQUIRE(A.rows() == file.param<index_t>("r"));
  check_close(file, "BA" + how, B.lazyProduct(A), file.matrix("BA"), corda_rtol);
  check_close(file, "A^T A" + how, A.transpose().lazyProduct(A),
              stored_A.transpose().lazyProduct(stored_A), corda_rtol);
  check_close(file, "B B^T" + how, B.lazyProduct(B.transpose()),
              stored_B.lazyProduct(stored_B.transpose()), corda_rtol);
  // Where rank r leaves little of W, what counts is how closely s·B·A is subtracted from W.
  const dense expected = file.matrix("W_base");
  const double given_away = file.param<double>("scaling") * file.matrix("BA").cwiseAbs().maxCoeff();
  golden::check_within(file, "W_base" + how, base, expected,
                       corda_rtol * std::max(expected.cwiseAbs().maxCoeff(), given_away));
}

template <class Be>
void check_corda(const fixture& file, const std::string& type) {
  using T = typename Be::scalar;
  Be be;
  const dense W = file.matrix("W");
  const index_t rank = file.param<index_t>("r");
  const double scaling = file.param<double>("scaling");
  recorded_batches<Be> data{be, recorded_inputs(file), W.rows()};
  const preheat::init::corda init = corda_of(file, index_t(data.inputs.size()));

  // The covariance, and the start that it gives.
  network<Be> net = network_of(be, {{W, {}}});
  const preheat::fit_options options{};
  preheat::calibration_context<network<Be>, recorded_batches<Be>> context(
      net, data, options, {{0}, {rank}, {scaling}}, 0.01, preheat::generator());
  const std::vector<preheat::mat<Be>> C = init.calibrate(context);
  check_close(file, "C, " + type, host(be, C[0]), file.matrix("C"), covariance_rtol);
  const preheat::mat<Be> weight(W);
  const preheat::mat<Be> given(file.matrix("C"));
  const preheat::target_layer<Be> site{.W = weight, .rank = rank, .scaling = T(scaling)};
  const preheat::factors<Be> f = init(be, site, given);
  const dense A = host(be, f.A);
  const dense B = host(be, f.B);
  check_corda_start(file, A, B, W - scaling * B.lazyProduct(A), ", given C, " + type);

  // The same inside a run, which finds s from α and the rank.
  const preheat::method<preheat::init::corda> method{.init = init};
  const auto run = preheat::start_run(
      method, net, data,
      {.rank = rank,
       .steps = init.batches + 1,
       .scaling = preheat::scaling::over_rank(file.param<double>("lora_alpha"))});
  const auto& adapted_layer = run.adapters.layers().at(0);
  CHECK(adapted_layer.scaling == T(scaling));
  check_corda_start(file, host(be, adapted_layer.parameters.A),
                    host(be, adapted_layer.parameters.B), host(be, net.layers()[0].W),
                    ", in a run, " + type);
}
void check_corda(const fixture& file) {
  check_corda<preheat::cpu<float>>(file, "float");
  check_corda<preheat::cpu<double>>(file, "double");
}

// τ is PEFT's default where the file does not say; on one batch again and again any does.
preheat::init::eva eva_of(const fixture& file) {
  return {.rho = file.param<double>("rho"), .whiten = file.flag("whiten")};
}

// A run that has started by EVA on the layers of a file.
template <class Be>
auto start_eva(const fixture& file, network<Be>& net, recorded_batches<Be>& data,
               const preheat::init::eva& init) {
  const preheat::method<preheat::init::eva> method{.init = init};
  return preheat::start_run(method, net, data,
                            {.rank = file.param<index_t>("r"),
                             .steps = init.batches + 1,
                             .scaling = preheat::scaling::over_rank(file.param<double>("alpha"))});
}

// Whitened or not; PEFT shows the PCA the same batch until it has converged, and so the run does.
template <class Be>
void check_eva(const fixture& file, const std::string& type) {
  using T = typename Be::scalar;
  Be be;
  const dense W = file.matrix("W");
  const dense X = file.tokens("X");
  REQUIRE(W.cols() == X.rows());
  REQUIRE(X.cols() == file.param<index_t>("N"));

  preheat::linalg::incremental_pca<Be> seen(std::min(X.rows(), X.cols()));
  seen.add(be, preheat::mat<Be>(X));
  const std::vector<T>& values = seen.singular_values();
  const dense stored = file.matrix("S_centered");
  REQUIRE(index_t(values.size()) <= stored.rows());
  dense found = dense::Zero(stored.rows(), 1);  // what is zero to rounding is left out
  std::copy(values.begin(), values.end(), found.data());
  check_close(file, "S_centered, " + type, found, stored, eva_rtol);

  network<Be> net = network_of(be, {{W, {}}});
  recorded_batches<Be> data{be, {X}, W.rows()};
  auto run = start_eva(file, net, data, eva_of(file));
  const auto& adapted_layer = run.adapters.layers().at(0);
  CHECK(adapted_layer.scaling == T(file.param<double>("scaling")));
  check_close(file, "A, " + type, host(be, adapted_layer.parameters.A), file.matrix("A"), eva_rtol);
  check_close(file, "B, " + type, host(be, adapted_layer.parameters.B), file.matrix("B"), 0);
  check_close(file, "W_base, " + type, host(be, net.layers()[0].W),
              host(be, preheat::mat<Be>(file.matrix("W_base"))), 0);
}
void check_eva(const fixture& file) {
  check_eva<preheat::cpu<float>>(file, "float");
  check_eva<preheat::cpu<double>>(file, "double");
}

// Layers are numbered from 1: W1, b1, fc1.A …
template <class Be>
void check_eva_layers(const fixture& file, const std::string& type) {
  using T = typename Be::scalar;
  Be be;
  std::vector<std::pair<dense, dense>> weights;
  for (const index_t l : file.numbers_after("W")) {
    weights.emplace_back(file.matrix("W" + std::to_string(l)),
                         file.matrix("b" + std::to_string(l)));
  }
  REQUIRE(weights.size() >= 2);
  network<Be> net = network_of(be, weights);
  recorded_batches<Be> data{be, {file.tokens("X")}, weights.back().first.rows()};
  const preheat::init::eva init = eva_of(file);
  auto run = start_eva(file, net, data, init);
  for (std::size_t l = 0; l < weights.size(); ++l) {
    const std::string layer = "fc" + std::to_string(l + 1);
    const auto& adapted_layer = run.adapters.layers().at(l);
    CHECK(run.rank_of(index_t(l)) == file.param<index_t>("rank_pattern/" + layer));
    CHECK(adapted_layer.scaling == T(file.param<double>("scaling/" + layer)));
    check_close(file, layer + ".A, " + type, host(be, adapted_layer.parameters.A),
                file.matrix(layer + ".A"), redistributed_rtol);
    check_close(file, layer + ".B, " + type, host(be, adapted_layer.parameters.B),
                file.matrix(layer + ".B"), 0);
  }
}
void check_eva_layers(const fixture& file) {
  check_eva_layers<preheat::cpu<float>>(file, "float");
  check_eva_layers<preheat::cpu<double>>(file, "double");
}

}  // namespace

PREHEAT_GOLDEN("inits", "corda_ipm_tall", check_corda)
PREHEAT_GOLDEN("inits", "corda_ipm_wide", check_corda)
PREHEAT_GOLDEN("inits", "corda_kpm_tall", check_corda)
PREHEAT_GOLDEN("inits", "corda_kpm_wide", check_corda)
PREHEAT_GOLDEN("inits", "eva", check_eva)
PREHEAT_GOLDEN("inits", "eva_whiten", check_eva)
PREHEAT_GOLDEN("inits", "eva_two_layers", check_eva_layers)
