// preheat inside libtorch: a torch module whose linear layers are started by our policies and
// trained by torch, over memory that both see.
//
//   ./run libtorch        installs PyTorch's wheel under build/torch, builds and runs this
//
// Our matrices own the memory, by columns; torch::from_blob makes strided tensors of them, so that
// nothing is copied: an init writes what torch trains, torch's optimizer moves what our adapter
// merges. Two starts are shown, and checked against the library's own:
//
//   PiSSA   from the weight; the output must not move
//   HRP     torch's own loop preheats at a high rank; our SVD of the factors gives the low-rank start
//
// Exit code 0 if every check holds.
#include <torch/torch.h>

#include <cstdio>
#include <preheat/preheat.hpp>
#include <utility>
#include <vector>

namespace {

using preheat::index_t;
using be_type = preheat::cpu<float>;
using matrix = preheat::cpu_matrix<float>;
using network = preheat::nn::mlp<be_type>;

constexpr index_t tokens = 96;
constexpr index_t classes = 5;
constexpr float scaling = 2;
constexpr index_t rank = 4;
constexpr index_t preheating_rank = 16;
constexpr int preheating_steps = 5;
constexpr double preheating_rate = 0.1;
constexpr std::uint64_t seed = 7;

// The tensor [rows, cols] on a matrix's memory.
torch::Tensor tensor_on(matrix& M) {
  return torch::from_blob(M.data(), {M.rows(), M.cols()}, {1, M.ld()}, torch::kFloat32);
}

// A layer of torch on a layer of ours: y = x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ, x [tokens, in].
class adapted_linear : public torch::nn::Module {
 public:
  explicit adapted_linear(preheat::layer<be_type>& base)
      : W_(tensor_on(base.W)), b_(tensor_on(base.b).flatten()) {}

  // Takes the factors over; those named in `trained` are torch's parameters from now on.
  void start(preheat::factors<be_type> f, bool train_a, bool train_b) {
    f_ = std::move(f);
    A_ = tensor_on(f_.A).requires_grad_(train_a);
    B_ = tensor_on(f_.B).requires_grad_(train_b);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return x.mm(W_.t()) + b_ + scaling * x.mm(A_.t()).mm(B_.t());
  }
  std::vector<torch::Tensor> trained() const {
    std::vector<torch::Tensor> all;
    for (const torch::Tensor& t : {A_, B_}) {
      if (t.requires_grad()) {
        all.push_back(t);
      }
    }
    return all;
  }
  const preheat::factors<be_type>& factors() const { return f_; }

 private:
  torch::Tensor W_, b_, A_, B_;
  preheat::factors<be_type> f_;
};

class torch_model {
 public:
  explicit torch_model(network& net) {
    for (auto& l : net.layers()) {
      layers.push_back(std::make_shared<adapted_linear>(l));
    }
  }
  torch::Tensor forward(torch::Tensor x) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      x = layers[l]->forward(l == 0 ? x : torch::gelu(x));
    }
    return x;
  }
  template <class Optimizer>
  void train(const torch::Tensor& x, const torch::Tensor& y, int steps, double rate) {
    std::vector<torch::Tensor> all;
    for (const auto& l : layers) {
      const auto some = l->trained();
      all.insert(all.end(), some.begin(), some.end());
    }
    Optimizer optimizer(all, rate);
    for (int k = 0; k < steps; ++k) {
      optimizer.zero_grad();
      torch::nn::functional::cross_entropy(forward(x), y).backward();
      optimizer.step();
    }
  }
  double loss(const torch::Tensor& x, const torch::Tensor& y) {
    const torch::NoGradGuard no_gradients;
    return torch::nn::functional::cross_entropy(forward(x), y).item<double>();
  }

  std::vector<std::shared_ptr<adapted_linear>> layers;
};

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
preheat::site<be_type> site_of(network& net, std::size_t l, index_t r, preheat::side usable) {
  return {.W = net.layers()[l].W,
          .rank = std::min({r, net.layers()[l].W.rows(), net.layers()[l].W.cols()}),
          .scaling = scaling,
          .directions = usable,
          .layer = index_t(l),
          .gen = preheat::generator(seed).fork(preheat::purpose::factors, l)};
}

torch::Tensor output(torch_model& model, const torch::Tensor& x) {
  const torch::NoGradGuard no_gradients;
  return model.forward(x).clone();
}

// s·B·A goes into W, our way; torch sees the new W at once.
void merge(be_type& be, network& net, torch_model& model, float s) {
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const preheat::factors<be_type>& f = model.layers[l]->factors();
    be.gemm(s, preheat::op::none, f.B, preheat::op::none, f.A, 1, net.layers()[l].W);
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
  const torch::Tensor before = output(model, x);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto site = site_of(net, l, rank, preheat::side::automatic);
    model.layers[l]->start(preheat::init::pissa{}(be, site), true, true);
  }
  merge(be, net, model, -scaling);  // W gives s·B·A away
  check("output at the start against the base's", gap(output(model, x), before), 1e-4);
  const double loss = model.loss(x, y);
  model.train<torch::optim::AdamW>(x, y, 60, 1e-2);
  check("loss after 60 steps of torch's AdamW, over the first", model.loss(x, y) / loss, 0.5);
  const torch::Tensor trained = output(model, x);
  merge(be, net, model, scaling);
  start_from_nothing(be, net, model);
  check("output of torch's base after our merge", gap(output(model, x), trained), 1e-4);
}

void show_hrp(be_type& be, network net, const torch::Tensor& x, const torch::Tensor& y,
              preheat::nn::minibatches<be_type>& whole_batch) {
  std::printf("HRP: preheated by torch's own loop, trained by torch\n");
  torch_model model(net);
  // The warm method: B frozen and orthonormal, A = 0 trained by plain SGD.
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const auto site = site_of(net, l, preheating_rank, preheat::side::left);
    model.layers[l]->start(preheat::init::orthogonal{}(be, site), true, false);
  }
  model.train<torch::optim::SGD>(x, y, preheating_steps, preheating_rate);

  // The same by the library's loop.
  const preheat::init::default_warm warm{.optim = {.lr = preheating_rate}};
  const auto ours = preheat::fit(warm, net, whole_batch,
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
    const auto site = site_of(net, l, rank, preheat::side::automatic);
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
  // [tokens, features] of torch is features × tokens of ours, the same memory.
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
