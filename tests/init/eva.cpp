// EVA: A spans the directions in which a layer's input varies, ranks go where they explain most,
// gathering ends when components have converged, and inputs with too little in them still start.
#include <preheat/init/eva.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"
#include "support/spectrum.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using with_eva = method<init::eva>;

// 24 tokens around a mean of 3, centred and of these singular values, in an order that lets every
// batch of six see four of the directions or more.
table inputs_of(index_t n, std::vector<double> sigma, std::uint64_t seed) {
  for (double& s : sigma) {
    s /= std::sqrt(2.0);
  }
  const table half = with_spectrum(n, regression_data::tokens / 2, sigma, seed);
  table X(n, regression_data::tokens);
  for (index_t j = 0; j < half.cols; ++j) {
    for (index_t i = 0; i < n; ++i) {
      X(i, 2 * j) = 3 + half(i, j);
      X(i, 2 * j + 1) = 3 - half(i, j);
    }
  }
  return X;
}

// All tokens at once, for ever; counts how often it was asked.
struct everything {
  int asked = 0;
  void load(const generator&, index_t, column_range& batch) {
    batch = regression_data::everything();
    ++asked;
  }
};

template <class Be, class Run>
table A_of(Be& be, Run& run, std::size_t l) {
  return read<Be>(be, run.adapters.layers()[l].parameters.A);
}
template <class Run>
std::vector<index_t> ranks_of(Run& run) {
  std::vector<index_t> ranks;
  for (std::size_t l = 0; l < run.adapters.layers().size(); ++l) {
    ranks.push_back(run.rank_of(index_t(l)));
  }
  return ranks;
}

}  // namespace

TEST_CASE_TEMPLATE("eva: A spans what the inputs of all batches vary in", Be, PREHEAT_BACKENDS) {
  Be be;
  regression_data data({{5, 8}, {7, 6}});
  for (std::size_t l = 0; l < 2; ++l) {
    data.layers[l].X = inputs_of(data.layers[l].W.cols, {3, 2}, 800 + 10 * l);
  }
  regressions<Be> net(be, data);
  const std::vector<table> before = net.weights();
  typename regressions<Be>::batches batches;
  const with_eva m{.init = {.batches = 4, .tau = 1}};
  auto run = start_run(m, net, batches, {.rank = 2, .steps = 9});
  for (std::size_t l = 0; l < 2; ++l) {
    const table A = A_of(be, run, l);
    CHECK(orthonormality_gap(transposed(A)) < tolerance<Be>(8));
    table centred = data.layers[l].X;
    for (double& x : centred.values) {
      x -= 3;
    }
    CHECK(gap(centred * transposed(centred) * transposed(A) * A, centred * transposed(centred)) <
          tolerance<Be>(24));
    // In order, and with the sign of the largest entry.
    const table along = A * centred;
    CHECK(std::abs(std::sqrt(square_norm(transposed(along) * columns(identity(2), 0, 1))) - 3) <
          tolerance<Be>(24));
    for (index_t i = 0; i < 2; ++i) {
      double most = 0;
      for (index_t j = 0; j < A.cols; ++j) {
        most = std::abs(A(i, j)) > std::abs(most) ? A(i, j) : most;
      }
      CHECK(most > 0);
    }
    CHECK(
        same(read<Be>(be, run.adapters.layers()[l].parameters.B), table(data.layers[l].W.rows, 2)));
    CHECK(same(net.weights()[l], before[l]));
  }
}

// Layer 0 varies in one direction, layer 1 in all of its eight alike.
TEST_CASE_TEMPLATE("eva: ranks go to the largest explained variance ratios", Be, PREHEAT_BACKENDS) {
  Be be;
  regression_data data({{8, 8}, {8, 8}});
  data.layers[0].X = inputs_of(8, {4, 1.2, 0.36, 0.1}, 820);  // 0.91, 0.08, 0.007 …
  data.layers[1].X = inputs_of(8, std::vector<double>(8, 1), 822);
  const auto ranks = [&](double rho, index_t rank) {
    regressions<Be> net(be, data);
    everything batches;
    with_eva m{.init = {.rho = rho}};
    auto run =
        start_run(m, net, batches, {.rank = rank, .steps = 9, .scaling = scaling::over_rank(12)});
    for (const auto& adapted_layer : run.adapters.layers()) {
      CHECK(adapted_layer.scaling ==
            scalar_of<Be>(12.0 / double(rank)));  // that of the rank asked for
      CHECK(adapted_layer.parameters.B.cols() == adapted_layer.parameters.A.rows());
    }
    return ranks_of(run);
  };
  CHECK(ranks(1, 3) == std::vector<index_t>{3, 3});
  CHECK(ranks(2, 3) == std::vector<index_t>{1, 5});    // 0.91 and five of six times 0.125
  CHECK(ranks(1.5, 3) == std::vector<index_t>{2, 4});  // round(4.5) = 4 candidates a layer
  CHECK(ranks(1.2, 3) == std::vector<index_t>{2, 4});
  CHECK(ranks(2, 5) == std::vector<index_t>{2, 8});  // no more than min(out, in)
  CHECK(ranks(9, 1) == std::vector<index_t>{1, 1});  // every layer keeps one
  regression_data low = data;
  low.layers[1].W = random_table(4, 8, 826);
  low.layers[1].Y = random_table(4, 24, 827);
  std::swap(low, data);
  CHECK(ranks(2, 3) == std::vector<index_t>{2, 4});  // four of the six that would be candidates
  std::swap(low, data);

  // The steep layer is the one that would go without: two directions of 1/2 against eight of 1/8.
  data.layers[0].X = inputs_of(8, {1, 1}, 824);
  CHECK(ranks(2, 1) == std::vector<index_t>{1, 1});
  CHECK(ranks(2, 2) == std::vector<index_t>{2, 2});  // not 4 candidates of 1/2: two are there
  // Layers alike share alike.
  data.layers[0].X = data.layers[1].X;
  CHECK(ranks(2, 3) == std::vector<index_t>{3, 3});
}

TEST_CASE("eva: gathering ends when the components have converged") {
  using Be = cpu_double;
  Be be;
  regression_data data({{8, 8}, {8, 8}});
  const auto asked = [&](const init::eva& init) {
    regressions<Be> net(be, data);
    everything batches;
    auto run = start_run(with_eva{.init = init}, net, batches, {.rank = 2, .steps = 20});
    return batches.asked;
  };
  CHECK(asked({}) == 2);  // the same tokens again turn nothing
  CHECK(asked({.batches = 1}) == 1);
  CHECK(asked({.batches = 6, .tau = 1}) == 6);
  CHECK(asked({.batches = 6, .tau = 0}) == 2);

  // A layer whose input repeats takes two batches, the other one all.
  for (index_t j = 6; j < 24; ++j) {
    for (index_t i = 0; i < 8; ++i) {
      data.layers[0].X(i, j) = data.layers[0].X(i, j - 6);
    }
  }
  regressions<Be> net(be, data);
  regressions<Be>::batches batches;
  const fit_options options{};
  calibration_context<regressions<Be>, regressions<Be>::batches> context(
      net, batches, options, {{0, 1}, {2, 2}, {1, 1}}, 0, generator(3));
  const auto seen = init::eva{.batches = 4, .rho = 1, .tau = 0.999999}.calibrate(context);
  CHECK(seen[0].tokens() == 12);
  CHECK(seen[1].tokens() == 24);
}

TEST_CASE_TEMPLATE("eva: whiten divides by the root of the singular value", Be, PREHEAT_BACKENDS) {
  Be be;
  linalg::incremental_pca<Be> seen(3);
  const table X = random_table(6, 9, 830);
  seen.add(be, matrix(be, X));
  const mat<Be> W = be.zeros(4, 6);
  const target_layer<Be> s{.W = W, .rank = 3, .scaling = 2, .gen = generator(4)};
  const table plain = read<Be>(be, init::eva{}(be, s, seen).A);
  CHECK(same(transposed(plain), read<Be>(be, seen.components())));
  table whitened = read<Be>(be, init::eva{.whiten = true}(be, s, seen).A);
  for (index_t i = 0; i < 3; ++i) {
    for (index_t j = 0; j < 6; ++j) {
      whitened(i, j) *= std::sqrt(double(seen.singular_values()[i]));
    }
  }
  CHECK(gap(whitened, plain) < tolerance<Be>(1));
}

// Six tokens have five components: two rows of rank 7 are made up, orthonormal to the others.
TEST_CASE_TEMPLATE("eva: fewer tokens than components and constant inputs", Be, PREHEAT_BACKENDS) {
  Be be;
  regression_data data({{8, 8}, {8, 8}});
  data.layers[1].X = table(8, 24, 1.0 / 3);
  const auto start = [&](bool whiten, std::uint64_t seed) {
    regressions<Be> net(be, data);
    typename regressions<Be>::batches batches;
    const with_eva m{.init = {.batches = 1, .rho = 1, .whiten = whiten}};
    auto run = start_run(m, net, batches, {.rank = 7, .steps = 9, .seed = seed});
    CHECK(ranks_of(run) == std::vector<index_t>{7, 7});
    return std::pair(A_of(be, run, 0), A_of(be, run, 1));
  };
  const auto [A, constant] = start(false, 1);
  CHECK(orthonormality_gap(transposed(A)) < tolerance<Be>(8));
  CHECK(orthonormality_gap(transposed(constant)) < tolerance<Be>(8));
  linalg::incremental_pca<Be> seen(7);
  seen.add(be, matrix(be, columns(data.layers[0].X, 0, 6)));
  REQUIRE(seen.found() == 5);
  CHECK(gap(columns(transposed(A), 0, 5), read<Be>(be, seen.components())) < tolerance<Be>(8));

  // What is made up comes from the seed, and is not whitened.
  CHECK(same(start(false, 1).first, A));
  const auto [other, other_constant] = start(false, 2);
  CHECK(gap(columns(transposed(A), 0, 5), columns(transposed(other), 0, 5)) < tolerance<Be>(8));
  CHECK(gap(columns(transposed(A), 5, 2), columns(transposed(other), 5, 2)) > 0.01);
  CHECK(gap(constant, other_constant) > 0.01);
  const table whitened = start(true, 1).first;
  CHECK(same(columns(transposed(whitened), 5, 2), columns(transposed(A), 5, 2)));
  CHECK(gap(columns(transposed(whitened), 0, 5), columns(transposed(A), 0, 5)) > 0.01);

  // Two constant layers keep their ranks, equal or not.
  data.layers[0].X = data.layers[1].X;
  for (const std::vector<index_t>& ranks : {std::vector<index_t>{2, 5}, {4, 1}, {3, 3}}) {
    regressions<Be> net(be, data);
    everything batches;
    const fit_options options{};
    calibration_context<regressions<Be>, everything> context(
        net, batches, options, {{0, 1}, ranks, {1, 1}}, 0, generator(3));
    CHECK(init::eva{.batches = 2}.calibrate(context)[0].found() == 0);
    CHECK(context.ranks == ranks);
  }
}
