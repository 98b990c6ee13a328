// A multilayer perceptron: linear layers with biases, GELU between them, a loss at the end.
//
//   h_0 = X,  z_l = W_l·h_{l−1} + b_l,  h_l = gelu(z_l),  loss(z_L, target)
//
// Every linear layer is adaptable; its name is "layers.0", "layers.1", … X is features × N. Forward
// and backward reuse their buffers: a step allocates nothing once shapes have been seen.
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../linalg/random_matrix.hpp"
#include "gelu.hpp"
#include "loss.hpp"

namespace preheat::nn {

// Inputs, one column a token, and what the loss compares with (see nn/loss.hpp).
template <class Be>
struct labelled_batch {
  mat<Be> X;
  mat<Be> target;
};

template <backend Be, class Loss = cross_entropy>
class mlp {
 public:
  using backend_type = Be;
  using T = scalar_of<Be>;
  using batch_type = labelled_batch<Be>;

  // Widths from the input to the output, at least two. W and b ~ U(±1/√in), as torch.nn.Linear.
  mlp(Be& be, const std::vector<index_t>& widths, std::uint64_t seed) : be_(&be) {
    require(widths.size() >= 2, "an mlp has at least 2 widths", widths.size(), 2);
    for (const index_t width : widths) {
      require(width >= 1, "width of a layer >= 1", width, 1);
    }
    const generator gen(seed);
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
      const double bound = 1 / std::sqrt(double(widths[l]));
      body_.push_back(
          {"layers." + std::to_string(l),
           linalg::uniform(be, widths[l + 1], widths[l], bound, gen.fork(purpose::base, 2 * l)),
           linalg::uniform(be, widths[l + 1], 1, bound, gen.fork(purpose::base, 2 * l + 1))});
    }
  }
  // From layers that exist: each one's `in` is the `out` of the layer before it.
  mlp(Be& be, std::vector<layer<Be>> layers) : be_(&be), body_(std::move(layers)) {
    require(!body_.empty(), "an mlp has at least one layer");
    for (std::size_t l = 0; l < body_.size(); ++l) {
      const layer<Be>& one = body_[l];
      linalg::require_finite<Be>(be, one.W, one.name + ": W");
      linalg::require_finite<Be>(be, one.b, one.name + ": b");
      require(one.b.rows() == 0 || one.b.rows() == one.W.rows(),
              one.name + ": b has one entry a row", one.b.rows(), one.W.rows());
      require(l == 0 || body_[l].W.cols() == body_[l - 1].W.rows(),
              "in of a layer = out of the layer before", body_[l].W.cols(),
              l == 0 ? 0 : body_[l - 1].W.rows());
    }
  }
  mlp(mlp&&) = default;
  // An independent copy of the weights.
  mlp copy() const {
    std::vector<layer<Be>> layers;
    for (const layer<Be>& l : body_) {
      layers.push_back({l.name, clone<Be>(*be_, l.W), clone<Be>(*be_, l.b)});
    }
    return mlp(*be_, std::move(layers));
  }

  Be& backend() const { return *be_; }
  std::span<layer<Be>> layers() { return body_; }

  // The output, outputs × N, through any linear operator; valid until the next pass.
  template <class Lin>
  in<Be> forward(in<Be> X, Lin& lin) {
    lin.begin(pass::evaluation);
    return run_forward(X, lin);
  }
  template <class Lin>
  T loss(const batch_type& batch, Lin& lin) {
    lin.begin(pass::evaluation);
    return evaluate(batch, lin);
  }
  template <class Lin>
  T loss_and_gradient(const batch_type& batch, Lin& lin) {
    lin.begin(pass::training);
    const T value = evaluate(batch, lin);
    const std::size_t first = std::size_t(lin.first_trained());
    out<Be> d = dz_;
    for (std::size_t l = body_.size(); l-- > first;) {
      d = lin.backward(index_t(l), l > 0 ? in<Be>(h_[l - 1]) : in<Be>(batch.X), d, l > first);
      if (l > first) {
        be_->each(gelu_gradient_kernel<T>{}, d, z_[l - 1], cdf_[l - 1]);
      }
    }
    return value;
  }

 private:
  template <class Lin>
  out<Be> run_forward(in<Be> X, Lin& lin) {
    require(X.cols() > 0, "a batch has at least one token", X.cols(), 1);
    const std::size_t depth = body_.size();
    z_.resize(depth);
    h_.resize(depth - 1);
    cdf_.resize(depth - 1);
    for (std::size_t l = 0; l < depth; ++l) {
      z_[l] = lin.forward(index_t(l), l > 0 ? in<Be>(h_[l - 1]) : X);
      if (l + 1 < depth) {
        be_->resize(h_[l], z_[l].rows(), z_[l].cols());
        be_->resize(cdf_[l], z_[l].rows(), z_[l].cols());
        be_->each(gelu_kernel<T>{}, h_[l], cdf_[l], z_[l]);
      }
    }
    return z_.back();
  }
  template <class Lin>
  T evaluate(const batch_type& batch, Lin& lin) {
    const out<Be> Z = run_forward(batch.X, lin);
    be_->resize(dz_, Z.rows(), Z.cols());
    return Loss::template evaluate<Be>(*be_, Z, batch.target, dz_);
  }

  Be* be_;
  std::vector<layer<Be>> body_;
  std::vector<out<Be>> z_;  // before the activation: the operator's buffers
  std::vector<mat<Be>> h_;
  std::vector<mat<Be>> cdf_;
  mat<Be> dz_;
};

}  // namespace preheat::nn
