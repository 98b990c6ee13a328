// Misuse: each mistake is refused with preheat::invalid_argument, in a text that names what was
// broken and both values. The whole text is compared.
#include <doctest/doctest.h>

#include <limits>
#include <preheat/preheat.hpp>
#include <string>
#include <vector>

#include "support/refusal.hpp"

using namespace preheat;
using conformance::refusal;

namespace {

using be_type = cpu<float>;
using matrix = cpu_matrix<float>;
using net_type = nn::least_squares<be_type>;

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

be_type be;

matrix zeros(index_t m, index_t n) {
  return be.zeros(m, n);
}
matrix filled(index_t m, index_t n, float value) {
  return Eigen::MatrixXf::Constant(m, n, value);
}
// Zeros but for one entry.
matrix spoilt(index_t m, index_t n, float value) {
  Eigen::MatrixXf M = Eigen::MatrixXf::Zero(m, n);
  M(m - 1, n / 2) = value;
  return M;
}

// A network of one 3×5 matrix.
net_type small_network() {
  return net_type(be, zeros(3, 5), filled(3, 5, 1));
}
// Two layers, 4 -> 6 -> 3, with a batch of two tokens.
nn::mlp<be_type> small_mlp() {
  return nn::mlp<be_type>(be, {4, 6, 3}, 0);
}

// Batches made by a function, for data that `minibatches` would refuse.
struct custom_batches {
  matrix X;
  matrix target;
  void load(const generator&, index_t, nn::labelled_batch<be_type>& batch) const {
    batch.X = clone<be_type>(be, X);
    batch.target = clone<be_type>(be, target);
  }
};

template <class Method>
std::string fit_refusal(const Method& m, const fit_options& options) {
  net_type net = small_network();
  return refusal([&] { fit(m, net, net.batches(), options); });
}
std::string options_refusal(const fit_options& options) {
  return fit_refusal(lora{}, options);
}
template <class Method>
std::string mlp_refusal(const Method& m, custom_batches batches, const fit_options& options) {
  nn::mlp<be_type> net = small_mlp();
  return refusal([&] { fit(m, net, batches, options); });
}

template <class Init>
std::string init_refusal(const Init& init, index_t rank) {
  const matrix W = filled(3, 5, 1);
  const target_layer<be_type> s{.W = W, .rank = rank};
  return refusal([&] { init(be, s); });
}

}  // namespace

TEST_CASE("misuse: an init called with a rank out of range") {
  const auto check = [](auto init) {
    CHECK(init_refusal(init, 0) == "preheat: 1 <= rank <= min(out, in) (0, 3)");
    CHECK(init_refusal(init, -9) == "preheat: 1 <= rank <= min(out, in) (-9, 3)");
    CHECK(init_refusal(init, 4) == "preheat: 1 <= rank <= min(out, in) (4, 3)");
    CHECK(init_refusal(init, 3) == "(not refused)");
  };
  check(init::kaiming{});
  check(init::gaussian{});
  check(init::orthogonal{});
  check(init::pissa{});
  check(init::pissa_randomized{});
  check(init::pissa_krylov{});
}

TEST_CASE("misuse: init::hrp called with factors that do not fit") {
  const matrix W = zeros(3, 5);
  const auto refuse = [&](const factors<be_type>& preheated, index_t rank) {
    const target_layer<be_type> s{.W = W, .rank = rank};
    return refusal([&] { init::hrp<>{}(be, s, preheated); });
  };
  const factors<be_type> of_rank_2{filled(2, 5, 1), filled(3, 2, 1)};
  const factors<be_type> of_rank_6{filled(6, 5, 1), filled(3, 6, 1)};
  CHECK(refuse(of_rank_2, 3) == "preheat: preheating rank >= rank (2, 3)");
  CHECK(refuse(of_rank_2, 0) == "preheat: factored_svd: 1 <= rank <= rank of the factors (0, 2)");
  CHECK(refuse(of_rank_6, 4) == "preheat: factored_svd: rank <= min(out, in) (4, 3)");
  CHECK(refuse({filled(2, 5, 1), filled(4, 2, 1)}, 1) ==
        "preheat: init::hrp: rows of the preheated B = out of W (4, 3)");
  CHECK(refuse({filled(2, 6, 1), filled(3, 2, 1)}, 1) ==
        "preheat: init::hrp: columns of the preheated A = in of W (6, 5)");
  CHECK(refuse({filled(2, 5, 1), filled(3, 4, 1)}, 1) ==
        "preheat: factored_svd: columns of B = rows of A (4, 2)");
  CHECK(refuse({filled(2, 5, 1), spoilt(3, 2, not_a_number)}, 1) ==
        "preheat: factored_svd: B has a NaN or infinite entry");
  CHECK(refuse({spoilt(2, 5, infinity), filled(3, 2, 1)}, 1) ==
        "preheat: factored_svd: A has a NaN or infinite entry");
}

TEST_CASE("misuse: settings of an init") {
  CHECK(init_refusal(init::kaiming{.row_norm = -1}, 2) == "preheat: row norm >= 0 (-1, 0)");
  CHECK(init_refusal(init::gaussian{.sigma = -1}, 2) == "preheat: standard deviation >= 0 (-1, 0)");
  CHECK(init_refusal(init::pissa_randomized{.power_iterations = -1}, 2) ==
        "preheat: power iterations >= 0 (-1, 0)");
  CHECK(init_refusal(init::pissa_randomized{.oversampling = -1}, 2) ==
        "preheat: oversampling >= 0 (-1, 0)");
  CHECK(init_refusal(init::pissa_krylov{.block = -1}, 2) == "preheat: Krylov block >= 0 (-1, 0)");
  CHECK(init_refusal(init::pissa_krylov{.depth = -1}, 2) == "preheat: Krylov depth >= 0 (-1, 0)");
  CHECK(refusal([] { const init::hrp<> wrong{.row_norm = 0.0}; }) ==
        "preheat: row norm > 0 (0, 0)");

  // The scaling divides PiSSA's factors.
  const matrix W = filled(3, 5, 1);
  const target_layer<be_type> s{.W = W, .rank = 2, .scaling = 0};
  CHECK(refusal([&] { init::pissa{}(be, s); }) == "preheat: scaling > 0 (0, 0)");
}

TEST_CASE("misuse: a rank that fit cannot give") {
  CHECK(options_refusal({.rank = 0}) == "preheat: rank >= 1 (0, 1)");
  CHECK(options_refusal({.rank = -2}) == "preheat: rank >= 1 (-2, 1)");
  CHECK(options_refusal({.rank = 4}) ==
        "preheat: layer 'weight': 1 <= rank <= min(out, in) (4, 3)");
}

TEST_CASE("clamp_rank: a rank above min(out, in) is cut, and the report says where") {
  nn::mlp<be_type> net = small_mlp();
  nn::minibatches<be_type> batches(be, filled(4, 2, 1), zeros(1, 2), 0);
  const auto report = fit(lora{}, net, batches, {.rank = 4, .steps = 1, .clamp_rank = true});
  REQUIRE(report.layers.size() == 2);
  CHECK(report.layers[0].rank == 4);
  CHECK_FALSE(report.layers[0].clamped);
  CHECK(report.layers[1].rank == 3);
  CHECK(report.layers[1].clamped);
  CHECK(report.layers[1].parameters.A.rows() == 3);
}

TEST_CASE("misuse: options that contradict themselves") {
  CHECK(options_refusal({.rank = 2, .steps = 0}) == "preheat: steps >= 1 (0, 1)");
  CHECK(options_refusal({.rank = 2, .accumulate = 0}) ==
        "preheat: accumulated batches >= 1 (0, 1)");
  CHECK(options_refusal({.rank = 2, .dropout = 1}) == "preheat: 0 <= dropout < 1 (1, 1)");
  CHECK(options_refusal({.rank = 2, .dropout = -0.5}) == "preheat: 0 <= dropout < 1 (-0.5, 1)");
  CHECK(options_refusal({.rank = 2, .max_gradient_norm = -1}) ==
        "preheat: largest gradient norm >= 0 (-1, 0)");
  CHECK(options_refusal({.rank = 2, .patience = 2}) ==
        "preheat: patience needs evaluate_every > 0 (2, 0)");
  CHECK(options_refusal({.rank = 2, .evaluate_every = 5}) ==
        "preheat: evaluate_every needs a validation batch, the last argument of fit");
  CHECK(options_refusal({.rank = 2, .layer_scaling = {1, 1}}) ==
        "preheat: layer_scaling has one s per layer (2, 1)");
}

TEST_CASE("misuse: a target that no layer has") {
  nn::mlp<be_type> net = small_mlp();
  nn::minibatches<be_type> batches(be, filled(4, 2, 1), zeros(1, 2), 0);
  const fit_options options{.rank = 2, .targets = {"attention"}};
  CHECK(refusal([&] { fit(lora{}, net, batches, options); }) ==
        "preheat: no layer matches the target 'attention'; the network's layers are: layers.0, "
        "layers.1");
}

TEST_CASE("misuse: settings of an optimizer") {
  using with_sgd = method<optim::sgd>;
  const fit_options options{.rank = 2};
  CHECK(fit_refusal(lora{.optim = {.lr = -1}}, options) == "preheat: learning rate >= 0 (-1, 0)");
  CHECK(fit_refusal(with_sgd{.optim = {.lr = -1}}, options) ==
        "preheat: learning rate >= 0 (-1, 0)");
  CHECK(fit_refusal(lora{.optim = {.beta2 = 1}}, options) ==
        "preheat: 0 <= beta1, beta2 < 1 (0.9, 1)");
  CHECK(fit_refusal(lora{.optim = {.epsilon = -1}}, options) == "preheat: epsilon >= 0 (-1, 0)");
  CHECK(fit_refusal(lora{.optim = {.weight_decay = -1}}, options) ==
        "preheat: weight decay >= 0 (-1, 0)");
  CHECK(fit_refusal(with_sgd{.optim = {.momentum = -1}}, options) ==
        "preheat: momentum >= 0 (-1, 0)");
  CHECK(fit_refusal(with_sgd{.optim = {.nesterov = true}}, options) ==
        "preheat: Nesterov momentum needs momentum > 0 and dampening = 0 (0, 0)");
}

TEST_CASE("misuse: preheating") {
  CHECK(fit_refusal(hrp<>{.init = {.rank = 1}}, {.rank = 2}) ==
        "preheat: preheating rank >= rank (1, 2)");
  CHECK(fit_refusal(hrp<>{.init = {.steps = 0}}, {.rank = 2}) ==
        "preheat: preheating steps >= 1 (0, 1)");
  CHECK(fit_refusal(hrp<>{.init = {.steps = 10}}, {.rank = 2, .steps = 10}) ==
        "preheat: steps of calibration < steps of the run (10, 10)");
  CHECK(fit_refusal(hrp<>{}, {.rank = 2, .steps = 1}) ==
        "preheat: steps of calibration < steps of the run (1, 1)");
  CHECK(fit_refusal(hrp<>{.init = {.lr = -1.0}}, {.rank = 2}) ==
        "preheat: learning rate >= 0 (-1, 0)");
}

TEST_CASE("misuse: a side that the adapter cannot use") {
  using train_a = method<adapter::asymmetric<parameter_role::A>, init::hrp<>>;
  using train_b = method<adapter::asymmetric<parameter_role::B>, init::hrp<>>;
  CHECK(
      fit_refusal(train_a{.init = {.side = singular_side::right}}, {.rank = 2}) ==
      "preheat: init::hrp: this adapter freezes B and takes singular vectors on the left side, not "
      "the right: leave the side automatic");
  CHECK(fit_refusal(train_b{.init = {.side = singular_side::left}}, {.rank = 2}) ==
        "preheat: init::hrp: this adapter freezes A and takes singular vectors on the right side, "
        "not "
        "the left: leave the side automatic");
}

TEST_CASE("misuse: views and products of the wrong shape") {
  matrix M = zeros(4, 3);
  const view<float> v = M;
  CHECK(refusal([&] { view<float>(M.data(), 3, 4, 2); }) ==
        "preheat: leading dimension >= rows (2, 3)");
  CHECK(refusal([&] { view<float>(M.data(), -1, 4); }) ==
        "preheat: view: dimensions are not negative (-1, 4)");
  CHECK(refusal([&] { v.block(3, 0, 2, 1); }) ==
        "preheat: rows of a block lie in the matrix (5, 4)");
  CHECK(refusal([&] { v.col_range(2, 2); }) ==
        "preheat: columns of a block lie in the matrix (4, 3)");
  CHECK(refusal([&] { zeros(2, -1); }) == "preheat: matrix dimensions are not negative (2, -1)");

  const matrix A = zeros(2, 5);
  matrix C = zeros(4, 5);
  CHECK(refusal([&] { be.gemm(1, transpose::no, M, transpose::no, A, 0, C); }) ==
        "preheat: gemm: inner dimensions agree (3, 2)");
  CHECK(refusal([&] { be.gemm(1, transpose::yes, M, transpose::yes, A, 0, C); }) ==
        "preheat: gemm: inner dimensions agree (4, 5)");
  CHECK(refusal([&] { be.gemm(1, transpose::no, C, transpose::yes, A, 0, M); }) ==
        "preheat: gemm: columns of the result agree (3, 2)");
  CHECK(refusal([&] { be.gemm(1, transpose::yes, M, transpose::no, C, 0, C); }) ==
        "preheat: gemm: rows of the result agree (4, 3)");
  CHECK(refusal([&] { be.gram(transpose::yes, M, C); }) ==
        "preheat: gram: the result is square (4, 3)");
  CHECK(refusal([&] { be.copy(transpose::yes, M, C); }) == "preheat: copy: rows agree (3, 4)");
  CHECK(refusal([&] { be.copy(transpose::no, M, C); }) == "preheat: copy: columns agree (3, 5)");
  CHECK(refusal([&] {
          be.apply(linalg::axpby<float>{1, 1}, M, C);
        }) == "preheat: apply: columns agree (3, 5)");
  CHECK(refusal([&] { be.dot(M, A); }) == "preheat: dot: rows agree (4, 2)");
  CHECK(refusal([&] { be.cholesky(C); }) == "preheat: cholesky: the matrix is square (4, 5)");
  CHECK(refusal([&] { be.solve_upper(transpose::no, C, M); }) ==
        "preheat: solve_upper: the triangle is square (4, 5)");
  CHECK(refusal([&] { be.add_to_cols(A, M); }) == "preheat: add_to_cols: one term per row (2, 4)");
  CHECK(refusal([&] { be.upload(std::vector<float>(7), M); }) ==
        "preheat: upload: as many numbers as entries (7, 12)");
  CHECK(refusal([&] { be.qr(matrix()); }) == "preheat: qr: the matrix is not empty (0, 0)");
}

TEST_CASE("misuse: linear algebra") {
  const generator gen(1);
  const matrix W = filled(3, 5, 1);
  CHECK(refusal([&] { linalg::orthonormal(be, 3, 4, gen); }) ==
        "preheat: orthonormal columns: 1 <= columns <= rows (4, 3)");
  CHECK(refusal([&] { linalg::randomized_svd<be_type>(be, W, 2, zeros(3, 1), 4); }) ==
        "preheat: rank <= columns of the test matrix (2, 1)");
  CHECK(refusal([&] { linalg::randomized_svd<be_type>(be, W, 2, zeros(5, 2), 4); }) ==
        "preheat: rows of the test matrix = min(out, in) (5, 3)");
  CHECK(refusal([&] { linalg::truncated_svd<be_type>(be, W, 4); }) ==
        "preheat: 1 <= rank <= min(out, in) (4, 3)");
}

TEST_CASE("misuse: layers that do not fit each other") {
  CHECK(refusal([] { net_type(be, zeros(3, 5), zeros(5, 3)); }) ==
        "preheat: rows of W = rows of its target (3, 5)");
  CHECK(refusal([] { net_type(be, zeros(3, 5), zeros(3, 4)); }) ==
        "preheat: columns of W = columns of its target (5, 4)");
  CHECK(refusal([] { nn::mlp<be_type>(be, {4}, 0); }) ==
        "preheat: an mlp has at least 2 widths (1, 2)");
  CHECK(refusal([] {
          nn::mlp<be_type>(be, {4, 0, 3}, 0);
        }) == "preheat: width of a layer >= 1 (0, 1)");

  const auto two_layers = [](matrix first, matrix bias, matrix second) {
    return refusal([&] {
      std::vector<base_layer<be_type>> layers;
      layers.push_back({"first", std::move(first), std::move(bias)});
      layers.push_back({"second", std::move(second), {}});
      nn::mlp<be_type>(be, std::move(layers));
    });
  };
  CHECK(two_layers(zeros(6, 4), zeros(6, 1), zeros(3, 6)) == "(not refused)");
  CHECK(two_layers(zeros(6, 4), zeros(6, 1), zeros(3, 5)) ==
        "preheat: in of a layer = out of the layer before (5, 6)");
  CHECK(two_layers(zeros(6, 4), zeros(4, 1), zeros(3, 6)) ==
        "preheat: first: b has one entry per row (4, 6)");
  CHECK(two_layers(zeros(6, 4), spoilt(6, 1, not_a_number), zeros(3, 6)) ==
        "preheat: first: b has a NaN or infinite entry");
}

TEST_CASE("misuse: batches") {
  const lora m;
  const fit_options options{.rank = 2, .steps = 1};
  CHECK(mlp_refusal(m, {zeros(5, 2), zeros(1, 2)}, options) ==
        "preheat: features of the input = in of the layer (5, 4)");
  CHECK(mlp_refusal(m, {zeros(4, 2), zeros(1, 3)}, options) ==
        "preheat: one label per column (3, 2)");
  CHECK(mlp_refusal(m, {zeros(4, 2), zeros(3, 2)}, options) ==
        "preheat: labels are one row (3, 1)");
  CHECK(mlp_refusal(m, {zeros(4, 2), filled(1, 2, 7)}, options) ==
        "preheat: 0 <= label < classes (7, 3)");
  CHECK(mlp_refusal(m, {zeros(4, 2), filled(1, 2, -1)}, options) ==
        "preheat: 0 <= label < classes (-1, 3)");
  CHECK(mlp_refusal(m, {zeros(4, 0), zeros(1, 0)}, options) ==
        "preheat: a batch has at least one token (0, 1)");
  CHECK(mlp_refusal(m, {zeros(4, 2), zeros(1, 2)}, options) == "(not refused)");

  nn::mlp<be_type, nn::mean_squared> regression(be, {4, 3}, 0);
  custom_batches wide{zeros(4, 2), zeros(3, 5)};
  CHECK(refusal([&] { fit(m, regression, wide, options); }) ==
        "preheat: apply: columns agree (2, 5)");
}

TEST_CASE("misuse: data sets") {
  const auto refuse = [](matrix X, matrix target, index_t size) {
    return refusal([&] { nn::minibatches<be_type>(be, std::move(X), std::move(target), size); });
  };
  CHECK(refuse(zeros(4, 0), zeros(1, 0), 2) == "preheat: a data set has at least one token (0, 1)");
  CHECK(refuse(zeros(4, 5), zeros(1, 4), 2) == "preheat: one target per token (4, 5)");
  CHECK(refuse(zeros(4, 5), zeros(1, 5), -1) == "preheat: batch size >= 0 (-1, 0)");
  CHECK(refuse(spoilt(4, 5, not_a_number), zeros(1, 5), 2) ==
        "preheat: minibatches: X has a NaN or infinite entry");
  CHECK(refuse(zeros(4, 5), spoilt(1, 5, infinity), 2) ==
        "preheat: minibatches: target has a NaN or infinite entry");
}

TEST_CASE("misuse: weights that are not finite") {
  CHECK(refusal([] { net_type(be, spoilt(3, 5, not_a_number), zeros(3, 5)); }) ==
        "preheat: least_squares: W has a NaN or infinite entry");
  CHECK(refusal([] { net_type(be, zeros(3, 5), spoilt(3, 5, infinity)); }) ==
        "preheat: least_squares: target has a NaN or infinite entry");

  for (const float bad : {not_a_number, infinity, -infinity}) {
    const matrix W = spoilt(3, 5, bad);
    const target_layer<be_type> s{.W = W, .rank = 2};
    CHECK(refusal([&] { init::pissa{}(be, s); }) ==
          "preheat: truncated_svd: W has a NaN or infinite entry");
    CHECK(refusal([&] { init::pissa_randomized{}(be, s); }) ==
          "preheat: randomized_svd: W has a NaN or infinite entry");
    CHECK(refusal([&] { init::pissa_krylov{}(be, s); }) ==
          "preheat: krylov_svd: W has a NaN or infinite entry");
  }
}

TEST_CASE("a batch that is not finite is an outcome, not a misuse: the run ends with its status") {
  nn::mlp<be_type> net = small_mlp();
  custom_batches batches{spoilt(4, 2, not_a_number), zeros(1, 2)};
  const auto report = fit(lora{}, net, batches, {.rank = 2, .steps = 5});
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 0);
}

TEST_CASE("misuse: the state of another method") {
  using with_momentum = method<optim::sgd>;
  training_state of_lora;
  net_type net = small_network();
  fit(lora{}, net, net.batches(),
      {.rank = 2, .steps = 3, .checkpoint = [&](const training_state& s) { of_lora = s; }});
  CHECK(fit_refusal(with_momentum{.optim = {.momentum = 0.9}},
                    {.rank = 2, .steps = 6, .resume = &of_lora}) ==
        "preheat: the saved state has no entry 'layers/weight/optim/velocity/A': it belongs to "
        "another method, network or version");

  nn::mlp<be_type> other = small_mlp();
  nn::minibatches<be_type> batches(be, filled(4, 2, 1), zeros(1, 2), 0);
  const fit_options resumed{.rank = 2, .steps = 6, .resume = &of_lora};
  CHECK(refusal([&] { fit(lora{}, other, batches, resumed); }) ==
        "preheat: the saved state has no entry 'layers/layers.0/attached': it belongs to another "
        "method, network or version");
}
