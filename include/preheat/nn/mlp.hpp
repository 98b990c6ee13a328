// A multilayer perceptron: linear layers with biases, GELU between them, a loss at the end.
//
//   h_0 = X,  z_l = W_l·h_{l−1} + b_l,  h_l = gelu(z_l),  loss(z_L, target)
//
// Every linear layer is adaptable; its name is "layers.0", "layers.1", … X is features × N. Forward
// and backward reuse their buffers: a step allocates nothing once its shapes have occurred.
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../linalg/random_matrix.hpp"
#include "gelu.hpp"
#include "late_loss.hpp"

namespace preheat::nn {

// Inputs, one column per token, and the target of the loss (see nn/loss.hpp).
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

  // The widths from the input to the output, at least two. W and b ~ U(±1/√in), as torch.nn.Linear.
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
  // From existing layers: `in` of each one is `out` of the layer before it.
  mlp(Be& be, std::vector<base_layer<Be>> layers) : be_(&be), body_(std::move(layers)) {
    require(!body_.empty(), "an mlp has at least one layer");
    for (std::size_t l = 0; l < body_.size(); ++l) {
      const base_layer<Be>& one = body_[l];
      linalg::require_finite(be, one.W, one.name + ": W");
      linalg::require_finite(be, one.b, one.name + ": b");
      require(one.b.rows() == 0 || one.b.rows() == one.W.rows(),
              one.name + ": b has one entry per row", one.b.rows(), one.W.rows());
      require(l == 0 || body_[l].W.cols() == body_[l - 1].W.rows(),
              "in of a layer = out of the layer before", body_[l].W.cols(),
              l == 0 ? 0 : body_[l - 1].W.rows());
    }
  }
  mlp(mlp&&) = default;
  // An independent copy of the weights.
  mlp copy() const {
    std::vector<base_layer<Be>> layers;
    for (const base_layer<Be>& l : body_) {
      layers.push_back({l.name, clone(*be_, l.W), clone(*be_, l.b)});
    }
    return mlp(*be_, std::move(layers));
  }

  Be& backend() const { return *be_; }
  std::span<base_layer<Be>> layers() { return body_; }

  // The output, outputs × N, computed through any linear operator; valid until the next pass.
  template <class Linear>
  const_view_of<Be> forward(const_view_of<Be> X, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return run_forward(X, linear);
  }
  template <class Linear>
  T loss(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    evaluate(batch, linear);
    return loss_.value(*be_);
  }
  template <class Linear>
  T loss_and_gradient(const batch_type& batch, Linear& linear) {
    linear.begin(pass_kind::training);
    evaluate(batch, linear);
    const std::size_t first = std::size_t(linear.first_trained());
    view_of<Be> d = dz_;
    for (std::size_t l = body_.size(); l-- > first;) {
      d = linear.backward(index_t(l),
                          l > 0 ? const_view_of<Be>(h_[l - 1]) : const_view_of<Be>(batch.X), d,
                          l > first);
      if (l > first) {
        be_->apply(gelu_gradient_kernel<T>{}, d, z_[l - 1], cdf_[l - 1]);
      }
    }
    return loss_.value(*be_);
  }

 private:
  template <class Linear>
  view_of<Be> run_forward(const_view_of<Be> X, Linear& linear) {
    require(X.cols() > 0, "a batch has at least one token", X.cols(), 1);
    const std::size_t depth = body_.size();
    z_.resize(depth);
    h_.resize(depth - 1);
    cdf_.resize(depth - 1);
    for (std::size_t l = 0; l < depth; ++l) {
      z_[l] = linear.forward(index_t(l), l > 0 ? const_view_of<Be>(h_[l - 1]) : X);
      if (l + 1 < depth) {
        be_->resize(h_[l], z_[l].rows(), z_[l].cols());
        be_->resize(cdf_[l], z_[l].rows(), z_[l].cols());
        be_->apply(gelu_kernel<T>{}, h_[l], cdf_[l], z_[l]);
      }
    }
    return z_.back();
  }
  template <class Linear>
  void evaluate(const batch_type& batch, Linear& linear) {
    const view_of<Be> Z = run_forward(batch.X, linear);
    be_->resize(dz_, Z.rows(), Z.cols());
    loss_.evaluate(*be_, Z, batch.target, dz_);
  }

  Be* be_;
  std::vector<base_layer<Be>> body_;
  std::vector<view_of<Be>> z_;  // before the activation; in buffers of the operator
  std::vector<mat<Be>> h_;
  std::vector<mat<Be>> cdf_;
  mat<Be> dz_;
  late_loss<Be, Loss> loss_;
};

}  // namespace preheat::nn
