// HRP in three steps that one can look at: preheat at a high rank, read the singular values of what
// it found, restart at a low rank from the singular vectors. `fit` does the same by itself when the
// method has init::hrp<>; here every step is a line of the program.
//
// It prints the largest singular values of the preheated product B·A, the share of ‖B·A‖² in the
// first four, and the final loss of three runs of 60 steps, preheating included: from HRP's
// directions by hand, by `fit`, and from random directions. Exit code 0 if HRP by hand ends below
// three quarters of the random start's loss.
#include <cstdio>
#include <preheat/preheat.hpp>
#include <span>
#include <utility>
#include <vector>

using namespace preheat;

using Be = cpu<double>;

constexpr index_t main_rank = 4;
constexpr index_t preheating_rank = 32;
constexpr index_t preheating_steps = 2;
constexpr index_t all_steps = 60;

// An init that was computed outside: A is what it is given, B is zero, so the output stays.
struct given_directions {
  using axis = axes::init;
  static constexpr initial_product product = initial_product::zero;

  Eigen::MatrixXd A;  // r×in

  template <backend B>
  factors<B> operator()(B& be, const target_layer<B>& s) const {
    mat<B> rows = be.zeros(A.rows(), A.cols());
    be.upload(std::span(A.data(), std::size_t(A.size())), rows);
    return {std::move(rows), be.zeros(s.W.rows(), s.rank)};
  }
};

// ½‖W + s·B·A − target‖²: between W and the target lie a change of rank 4 and a little noise.
nn::least_squares<Be> make_network(Be& be) {
  const Eigen::MatrixXd W = linalg::normal(be, 64, 48, 0.1, generator(1)).eigen();
  const Eigen::MatrixXd change = linalg::normal(be, 64, main_rank, 1, generator(2)).eigen() *
                                     linalg::normal(be, main_rank, 48, 1, generator(3)).eigen() +
                                 linalg::normal(be, 64, 48, 0.1, generator(5)).eigen();
  return nn::least_squares(be, W, Eigen::MatrixXd(W + change));
}

template <class Method>
double final_loss(const char* name, const Method& m, index_t steps) {
  Be be;
  auto network = make_network(be);
  const auto report =
      fit(m, network, network.batches(),
          {.rank = main_rank, .steps = steps, .scaling = scaling::constant(1), .clamp_rank = true});
  std::printf("%-12s loss %9.3f -> %9.3f\n", name, report.losses.front(), report.losses.back());
  return report.losses.back();
}

int main() {
  Be be;
  auto network = make_network(be);

  // 1. Preheat: A is trained by plain gradient descent, B is frozen with orthonormal columns. After
  //    a few steps B·A is a sketch of the summed gradient.
  using preheating = method<adapter::asymmetric<parameter_role::A>, init::orthogonal, optim::sgd>;
  const auto hot =
      fit(preheating{.optim = {.lr = 0.1}}, network, network.batches(),
          {.rank = preheating_rank, .steps = preheating_steps, .scaling = scaling::constant(1)});

  // 2. Look: the SVD of the product that is held in factors, B·A = U·S·Vᵀ.
  const auto product = hot.adapter.product(be, hot.layers[0].parameters);
  const auto svd = linalg::factored_svd<Be>(be, product.B, product.A, 2 * main_rank, generator(4));
  const double energy = (product.B.eigen() * product.A.eigen()).squaredNorm();
  double first = 0;
  std::printf("singular values of the preheated product:");
  const std::vector<double> sigma = be.download(svd.S);
  for (std::size_t i = 0; i < sigma.size(); ++i) {
    std::printf(" %.3g", sigma[i]);
    first += i < std::size_t(main_rank) ? sigma[i] * sigma[i] : 0;
  }
  std::printf("\nthe first %d hold %.1f %% of its energy\n", int(main_rank), 100 * first / energy);

  // 3. Restart at rank 4: A = the first right singular vectors, B = 0. Nothing else is taken over.
  const Eigen::MatrixXd A = svd.V.eigen().leftCols(main_rank).transpose();
  const double by_hand =
      final_loss("HRP by hand", method<given_directions>{.init = {.A = A}, .optim = {.lr = 0.1}},
                 all_steps - preheating_steps);

  // The same in one word, and what random directions give.
  final_loss("HRP by fit", hrp<>{.init = {.steps = preheating_steps}, .optim = {.lr = 0.1}},
             all_steps);
  const double random = final_loss("random rows", lora_orthogonal{.optim = {.lr = 0.1}}, all_steps);
  return by_hand < 0.75 * random ? 0 : 1;
}
