// Your own training loop, without `fit`: init, adapter and optimizer used alone, on memory that
// another library owns. The owner here is a framework that stores matrices by rows, as PyTorch does.
//
// How its memory is read, with nothing copied but W:
//   a batch [tokens, features] by rows is the same memory as features × tokens by columns: a view;
//   a weight [out, in] by rows is in × out by columns, that is Wᵀ. The adapters take W itself, so
//   it is copied once, transposed (a product can also read it in place, by transpose::yes, see below).
//
// The program preheats by hand: a few steps at a high rank, whose singular vectors start the run at
// the low rank (HRP). Exit code 0 if the loss falls below 1 % of its start and the merged weight
// gives the same output.
#include <cstdio>
#include <preheat/preheat.hpp>
#include <vector>

using namespace preheat;
using be_type = cpu<float>;
using matrix = cpu_matrix<float>;
using by_rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using by_columns = Eigen::MatrixXf;

constexpr index_t in_features = 48;
constexpr index_t out_features = 64;
constexpr index_t tokens = 256;

// What the framework owns, by rows.
struct framework_memory {
  std::vector<float> weight;  // [out, in]
  std::vector<float> inputs;  // [tokens, in]
  std::vector<float> labels;  // [tokens, out]
};

// Random inputs, a random weight, and labels from that weight plus a change of rank 4.
framework_memory make_problem(be_type& be) {
  const auto random = [&](index_t m, index_t n, std::uint64_t number) -> by_rows {
    return linalg::normal(be, m, n, 1, generator(number)).eigen();
  };
  const by_rows W = random(out_features, in_features, 1);
  const by_rows X = random(tokens, in_features, 2);
  const by_rows change = random(out_features, 4, 3) * random(4, in_features, 4);
  const by_rows T = X * (W + change).transpose();
  return {{W.data(), W.data() + W.size()},
          {X.data(), X.data() + X.size()},
          {T.data(), T.data() + T.size()}};
}

// The loss ½‖Y − T‖²/N and its gradient dY = (Y − T)/N.
double squared_error(be_type& be, view<const float> Y, view<const float> T, matrix& dY) {
  be.resize(dY, Y.rows(), Y.cols());
  be.copy(transpose::no, Y, dY);
  be.apply(linalg::axpby<float>{-1, 1}, dY, T);
  const double loss = 0.5 * double(be.dot(dY, dY)) / double(T.cols());
  be.apply(linalg::scale<float>{1 / float(T.cols())}, dY);
  return loss;
}

// The loop: any adapter, any optimizer. Returns the loss of the last step.
template <class Adapter, class Optim, class Params>
double train(be_type& be, const Adapter& adapter, const Optim& optim,
             const frozen_linear<be_type>& base, view<const float> X, view<const float> T,
             Params& parameters, int steps) {
  auto gradient = zeros_like(be, parameters);
  auto state = optim.start(be, parameters);
  typename Adapter::template saved_activations<be_type>
      saved_activations;  // what backward needs of forward
  matrix Y = be.zeros(T.rows(), T.cols());
  matrix dY;
  double loss = 0;
  for (int step = 0; step < steps; ++step) {
    adapter.forward(be, parameters, base, {X, X}, view<float>(Y), saved_activations);
    loss = squared_error(be, Y, T, dY);
    if (step % 50 == 0 || step + 1 == steps) {
      std::printf("  step %3d  loss %10.4f\n", step, loss);
    }
    set_zero(be, gradient);  // backward adds
    adapter.backward(be, parameters, base, {X, X}, dY, gradient, {}, saved_activations);
    optim.step(be, parameters, gradient, state, {.learning_rate = optim.lr, .step = step});
  }
  return loss;
}

int main() {
  be_type be;
  const framework_memory theirs = make_problem(be);

  // Their memory as Eigen maps. By rows for the weight; by columns for the batch, which is the same
  // memory read as features × tokens.
  const Eigen::Map<const by_rows> their_W(theirs.weight.data(), out_features, in_features);
  const Eigen::Map<const by_columns> their_X(theirs.inputs.data(), in_features, tokens);
  const Eigen::Map<const by_columns> their_T(theirs.labels.data(), out_features, tokens);

  // Views of the maps, and the one copy: W by columns.
  const view<const float> X(their_X.data(), their_X.rows(), their_X.cols());
  const view<const float> T(their_T.data(), their_T.rows(), their_T.cols());
  const matrix W(their_W);

  const index_t rank = 4;
  const float scaling = 2;
  const frozen_linear<be_type> base{.W = W, .b = {}, .scaling = scaling};
  const generator gen(0);

  // Preheating: rank 32, B frozen at orthonormal columns, A trained by plain SGD.
  const adapter::asymmetric<parameter_role::A> warm_adapter;
  const target_layer<be_type> warm_site{.W = W,
                                        .rank = 32,
                                        .scaling = scaling,
                                        .side = singular_side::left,
                                        .gen = gen.fork(purpose::preheat)};
  auto warm = warm_adapter.start(be, base, init::orthogonal{}(be, warm_site), gen);
  std::printf("%s\npreheating at rank 32\n", be.describe().c_str());
  train(be, warm_adapter, optim::sgd{.lr = 0.1}, base, X, T, warm, 5);

  // The main run starts from the leading singular vectors of what was learned.
  const target_layer<be_type> here{
      .W = W, .rank = rank, .scaling = scaling, .gen = gen.fork(purpose::factors)};
  const adapter::lora adapter;
  auto parameters =
      adapter.start(be, base, init::hrp<>{}(be, here, warm_adapter.product(be, warm)), gen);
  std::printf("training at rank 4\n");
  matrix Y = be.zeros(out_features, tokens);
  matrix dY;
  const view<const float> W_transposed(their_W.data(), in_features, out_features);
  be.gemm(1, transpose::yes, W_transposed, transpose::no, X, 0, Y);  // W·X, read in place
  const double before = squared_error(be, Y, T, dY);
  const double after = train(be, adapter, optim::adamw{.lr = 3e-2}, base, X, T, parameters, 301);

  // The merged weight, handed back by rows.
  matrix W_merged = clone<be_type>(be, W);
  adapter.merge(be, parameters, scaling, view<float>(W_merged), {});
  const by_rows handed_back = W_merged.eigen();

  // It gives the output that the adapter gives.
  adapter::lora::saved_activations<be_type> saved_activations;
  adapter.forward(be, parameters, base, {X, X}, view<float>(Y), saved_activations);
  const by_columns merged_output = handed_back * their_X;
  const double difference = double((merged_output - Y.eigen()).cwiseAbs().maxCoeff() /
                                   merged_output.cwiseAbs().maxCoeff());

  std::printf("loss %.2f -> %.4f\n", before, after);
  std::printf("merged against adapted output: largest difference %.1e of the largest entry\n",
              difference);
  return after < 0.01 * before && difference < 1e-5 ? 0 : 1;
}
