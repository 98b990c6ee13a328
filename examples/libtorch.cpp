// preheat inside libtorch: a torch module whose linear layers are started by our policies and
// trained by torch, over memory that both see.
//
//   ./run libtorch        fetches PyTorch, unless build/peft-venv has it, builds and runs this
//
// libtorch.hpp has the torch side. Two starts are shown, and checked against the library's own:
//   PiSSA   from the weight; the output must not move
//   HRP     torch's own loop preheats at a high rank; our SVD of the factors gives the low-rank start
//
// Exit code 0 if every check holds.
#include "libtorch.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace {

using namespace on_torch;
using preheat::index_t;

constexpr index_t tokens = 96;
constexpr index_t classes = 5;
constexpr index_t rank = 4;
constexpr index_t preheating_rank = 16;
constexpr int preheating_steps = 5;
constexpr double preheating_rate = 0.1;
constexpr std::uint64_t seed = 7;

// Prints and counts a check.
int failures = 0;
void check(const char* what, double value, double limit) {
  const bool good = value <= limit;
  failures += good ? 0 : 1;
  std::printf("  %-4s %-58s %.2e (at most %.0e)\n", good ? "ok" : "BAD", what, value, limit);
}

double gap(const Eigen::MatrixXf& a, const Eigen::MatrixXf& b) {
  return double((a - b).cwiseAbs().maxCoeff());
}
double gap(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// What the library asks of a layer, with the streams that its own runs use.
preheat::target_layer<be_type> target_layer_of(network& net, std::size_t l, index_t r,
                                               preheat::singular_side usable) {
  return {.W = net.layers()[l].W,
          .rank = std::min({r, net.layers()[l].W.rows(), net.layers()[l].W.cols()}),
          .scaling = scaling,
          .side = usable,
          .layer = index_t(l),
          .gen = preheat::generator(seed).fork(preheat::purpose::factors, l)};
}

// s·B·A goes into W, our way; torch sees the new W at once.
void merge(be_type& be, network& net, torch_model& model, float s) {
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const preheat::factors<be_type>& f = model.layers[l]->factors();
    be.gemm(s, preheat::transpose::no, f.B, preheat::transpose::no, f.A, 1, net.layers()[l].W);
  }
}
void start_from_nothing(be_type& be, network& net, torch_model& model) {
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto& W = net.layers()[l].W;
    model.layers[l]->start({be.zeros(1, W.cols()), be.zeros(W.rows(), 1)}, false, false);
  }
}

void show_pissa(be_type& be, network net, const torch::Tensor& x, const torch::Tensor& y) {
  std::printf("PiSSA from the weight, trained by torch\n");
  torch_model model(net);
  start_from_nothing(be, net, model);
  const torch::Tensor before = model.output(x);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto site = target_layer_of(net, l, rank, preheat::singular_side::automatic);
    model.layers[l]->start(preheat::init::pissa{}(be, site), true, true);
  }
  merge(be, net, model, -scaling);  // s·B·A is subtracted from W
  check("output at the start against the base's", gap(model.output(x), before), 1e-4);
  const double loss = model.loss(x, y);
  model.train<torch::optim::AdamW>(x, y, 60, 1e-2);
  check("loss after 60 steps of torch's AdamW, over the first", model.loss(x, y) / loss, 0.5);
  const torch::Tensor trained = model.output(x);
  merge(be, net, model, scaling);
  start_from_nothing(be, net, model);
  check("output of torch's base after our merge", gap(model.output(x), trained), 1e-4);
}

void show_hrp(be_type& be, network net, const torch::Tensor& x, const torch::Tensor& y,
              preheat::nn::minibatches<be_type>& whole_batch) {
  std::printf("HRP: preheated by torch's own loop, trained by torch\n");
  torch_model model(net);
  // The warm method: B frozen and orthonormal, A = 0 trained by plain SGD.
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto site = target_layer_of(net, l, preheating_rank, preheat::singular_side::left);
    model.layers[l]->start(preheat::init::orthogonal{}(be, site), true, false);
  }
  model.train<torch::optim::SGD>(x, y, preheating_steps, preheating_rate);

  // The same by the library's loop.
  const preheat::init::default_preheat preheating{.optim = {.lr = preheating_rate}};
  const auto ours = preheat::fit(preheating, net, whole_batch,
                                 {.rank = preheating_rank,
                                  .steps = preheating_steps,
                                  .seed = seed,
                                  .scaling = preheat::scaling::constant(scaling),
                                  .clamp_rank = true});
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const preheat::factors<be_type>& theirs = model.layers[l]->factors();
    const auto& A = ours.layers[l].parameters.A;
    const float size = A.eigen().cwiseAbs().maxCoeff();
    check("preheated A against the library's, relative", gap(theirs.A.eigen(), A.eigen()) / size,
          1e-4);
    const auto site = target_layer_of(net, l, rank, preheat::singular_side::automatic);
    preheat::factors<be_type> start = preheat::init::hrp<>{}(be, site, theirs);
    const preheat::factors<be_type> own =
        preheat::init::hrp<>{}(be, site, ours.adapter.product(be, ours.layers[l].parameters));
    const Eigen::MatrixXf P = start.A.eigen().transpose() * start.A.eigen();
    const Eigen::MatrixXf P_own = own.A.eigen().transpose() * own.A.eigen();
    check("subspace of the start against the library's", gap(P, P_own), 1e-2);
    model.layers[l]->start(std::move(start), true, true);
  }
  const double loss = model.loss(x, y);
  model.train<torch::optim::AdamW>(x, y, 60, 1e-2);
  check("loss after 60 steps of torch's AdamW, over the first", model.loss(x, y) / loss, 0.5);
}

}  // namespace

int main() {
  be_type be;
  const network net(be, {24, 40, 32, classes}, 1);
  matrix X = preheat::linalg::normal(be, 24, tokens, 1, preheat::generator(2));
  matrix labels = be.zeros(1, tokens);
  for (index_t j = 0; j < tokens; ++j) {
    labels.data()[j * labels.ld()] = float(j % classes);
  }
  // torch's [tokens, features] and preheat's features × tokens are the same memory.
  const torch::Tensor x = tensor_on(X).t();
  const torch::Tensor y = tensor_on(labels).flatten().to(torch::kLong);
  preheat::nn::minibatches<be_type> whole_batch(be, preheat::clone<be_type>(be, X),
                                                preheat::clone<be_type>(be, labels), 0);

  std::printf("%s, libtorch %s\n", be.describe().c_str(), TORCH_VERSION);
  show_pissa(be, net.copy(), x, y);
  show_hrp(be, net.copy(), x, y, whole_batch);
  std::printf(failures == 0 ? "all checks hold\n" : "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}
