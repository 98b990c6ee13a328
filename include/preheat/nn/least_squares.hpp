// The smallest network, for which the theory is stated: one matrix with a gradient oracle, loss ½‖W
// + ΔW − M‖² (Frobenius). Its input is the identity, so ∂loss/∂W = W + ΔW − M exactly.
#pragma once
#include <vector>

#include "../linalg/elementwise.hpp"

namespace preheat::nn {

template <backend Be>
class least_squares {
 public:
  using backend_type = Be;
  using T = scalar_of<Be>;
  struct batch_type {};
  // The same (empty) batch in every step.
  struct oracle {
    void load(const generator&, index_t, batch_type&) const {}
  };

  // W and the target M are out×in.
  [[gnu::cold]] least_squares(Be& be, mat<Be> W, mat<Be> target)
      : be_(&be), body_(1), target_(std::move(target)) {
    require(W.rows() == target_.rows(), "rows of W = rows of its target", W.rows(), target_.rows());
    require(W.cols() == target_.cols(), "columns of W = columns of its target", W.cols(),
            target_.cols());
    linalg::require_finite(be, W, "least_squares: W");
    linalg::require_finite(be, target_, "least_squares: target");
    identity_ = linalg::identity(be, W.cols());
    body_[0].name = "weight";
    body_[0].W = std::move(W);
  }

  Be& backend() const { return *be_; }
  std::span<base_layer<Be>> layers() { return body_; }
  oracle batches() const { return {}; }

  template <class Linear>
  T loss(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::evaluation);
    return residual(linear);
  }
  template <class Linear>
  T loss_and_gradient(const batch_type&, Linear& linear) {
    linear.begin(pass_kind::training);
    const T value = residual(linear);
    linear.backward(0, identity_, residual_, false);
    return value;
  }

 private:
  template <class Linear>
  T residual(Linear& linear) {
    const view_of<Be> sum = linear.forward(0, identity_);
    be_->resize(residual_, sum.rows(), sum.cols());
    be_->copy(transpose::no, sum, residual_);
    be_->apply(linalg::axpby<T>{-1, 1}, residual_, target_);
    return be_->dot(residual_, residual_) / 2;
  }

  Be* be_;
  std::vector<base_layer<Be>> body_;
  mat<Be> target_;
  mat<Be> identity_;
  mat<Be> residual_;
};

}  // namespace preheat::nn
