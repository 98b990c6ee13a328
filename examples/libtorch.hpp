// torch modules over the memory of preheat's matrices: what libtorch.cpp needs of torch, and nothing of
// it depends on a policy.
//
// Our matrices own the memory, by columns; torch::from_blob makes strided tensors of them, so that
// nothing is copied: an init writes what torch trains, torch's optimizer moves what our adapter
// merges.
#pragma once
#include <torch/torch.h>

#include <memory>
#include <preheat/preheat.hpp>
#include <utility>
#include <vector>

namespace on_torch {

using be_type = preheat::cpu<float>;
using matrix = preheat::cpu_matrix<float>;
using network = preheat::nn::mlp<be_type>;

inline constexpr float scaling = 2;  // s

// The tensor [rows, cols] on a matrix's memory.
inline torch::Tensor tensor_on(matrix& M) {
  return torch::from_blob(M.data(), {M.rows(), M.cols()}, {1, M.ld()}, torch::kFloat32);
}

// A layer of torch on a layer of preheat: y = x·Wᵀ + b + s·(x·Aᵀ)·Bᵀ, x [tokens, in].
class adapted_linear : public torch::nn::Module {
 public:
  explicit adapted_linear(preheat::base_layer<be_type>& base)
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

// The network with these layers and gelu between them.
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
  torch::Tensor output(const torch::Tensor& x) {
    const torch::NoGradGuard no_gradients;
    return forward(x).clone();
  }
  double loss(const torch::Tensor& x, const torch::Tensor& y) {
    const torch::NoGradGuard no_gradients;
    return torch::nn::functional::cross_entropy(forward(x), y).item<double>();
  }

  std::vector<std::shared_ptr<adapted_linear>> layers;
};

}  // namespace on_torch
