// The trained head of a network (concept trains_head) in a run. AdamW with torch's settings trains
// W and b, in the same way for every method; a network without a head needs nothing.
//
// The head's learning rate is fit_options::head_rate times the schedule, and its gradient is
// clipped together with the adapters' gradients. [preheat] The head is always trained by AdamW,
// whatever the adapters' optimizer.
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
    each_gradient([&](mat<Be>& g) { net_->backend().apply(linalg::scale<T>{T(factor)}, g); });
  }
  double gradient_norm() const {
    double square = 0;
    for_each_trained([&](auto, const mat<Be>& g) { square += double(net_->backend().dot(g, g)); },
                     net_->head().gradient);
    return std::sqrt(square);
  }
  // One step at this learning rate; `number` is the number of the step in the run.
  void step(double rate, index_t number) {
    const step_context context{.learning_rate = rate, .step = number};
    optim_.step(net_->backend(), net_->head().parameters, net_->head().gradient, moments_, context);
  }
  index_t size() const { return trained_size(net_->head().parameters); }
  // Calls f(g) with the gradient g of each parameter.
  template <class F>
  void each_gradient(F f) {
    for_each_trained([&](auto, mat<Be>& g) { f(g); }, net_->head().gradient);
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

// Restores the network's head when it goes out of scope.
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
