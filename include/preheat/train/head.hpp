// What a run does with the trained head of its network (concept trains_head): AdamW, with torch's
// settings, on W and b, the same for every method; nothing for a network that has no head.
//
// The head's rate is fit_options::head_rate times the schedule; its gradient is clipped together with
// that of the adapters. That a head is trained by AdamW whatever trains the adapters is ours.
#pragma once
#include <cmath>
#include <utility>

#include "../core/archive.hpp"
#include "../linalg/elementwise.hpp"
#include "../optim/adam.hpp"

namespace preheat {

template <network Net>
class head_trainer {
 public:
  explicit head_trainer(Net&) {}
  void zero_gradient() {}
  void scale_gradient(double) {}
  double gradient_norm() const { return 0; }
  void step(double, index_t) {}
  index_t size() const { return 0; }
  template <class F>
  void each_gradient(F) {}
  template <class Archive>
  void archive(Archive&) {}
};

template <trains_head Net>
class head_trainer<Net> {
 public:
  using Be = typename Net::backend_type;
  using params = head_params<Be>;

  explicit head_trainer(Net& net)
      : net_(&net), moments_(optim_.start(net.backend(), net.head().parameters)) {}

  void zero_gradient() { set_zero(net_->backend(), net_->head().gradient); }
  void scale_gradient(double factor) {
    using T = scalar_of<Be>;
    each_gradient([&](mat<Be>& g) { net_->backend().each(linalg::scale<T>{T(factor)}, g); });
  }
  double gradient_norm() const {
    double square = 0;
    visit([&](auto, const mat<Be>& g) { square += double(net_->backend().dot(g, g)); },
          net_->head().gradient);
    return std::sqrt(square);
  }
  // At this learning rate; `number` is that of the step in the run.
  void step(double rate, index_t number) {
    const step_context context{.learning_rate = rate, .step = number};
    optim_.step(net_->backend(), net_->head().parameters, net_->head().gradient, moments_, context);
  }
  index_t size() const { return trained_size(net_->head().parameters); }
  // f(g) for the gradient of each part.
  template <class F>
  void each_gradient(F f) {
    visit([&](auto, mat<Be>& g) { f(g); }, net_->head().gradient);
  }

  template <class Archive>
  void archive(Archive& ar) {
    params& head = net_->head().parameters;
    const index_t rows = head.W.rows();
    const index_t cols = head.W.cols();
    ar("parameters", head);
    require(head.W.rows() == rows && head.b.rows() == rows, "outputs of the saved head",
            head.W.rows(), rows);
    require(head.W.cols() == cols, "features of the saved head", head.W.cols(), cols);
    ar("optim", moments_);
  }

 private:
  Net* net_;
  optim::adamw optim_{};
  optim::adamw::state<Be, params> moments_;
};

// Puts the network's head back as it was, when it goes out of scope.
template <network Net>
class unchanged_head {
 public:
  explicit unchanged_head(Net&) {}
};
template <trains_head Net>
class unchanged_head<Net> {
 public:
  explicit unchanged_head(Net& net)
      : net_(&net), kept_(clone_params(net.backend(), net.head().parameters)) {}
  unchanged_head(const unchanged_head&) = delete;
  unchanged_head& operator=(const unchanged_head&) = delete;
  ~unchanged_head() { net_->head().parameters = std::move(kept_); }

 private:
  Net* net_;
  head_params<typename Net::backend_type> kept_;
};

}  // namespace preheat
