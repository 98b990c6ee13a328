// The linear operator of a network under adaptation: every layer is W·x + b, and with an adapter
// attached (W + ΔW)·x + b. It owns the adapters' parameters, their gradients and the buffers of a
// pass; the network owns W and b.
//
//   adapted<Be, adapter::lora> lin(net);          // nothing attached: the base alone
//   float loss = net.loss(batch, lin);
#pragma once
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "../adapter/lora.hpp"
#include "../core/concepts.hpp"
#include "../core/dropout.hpp"

namespace preheat {

template <backend Be, class Adapter>
class adapted {
  static_assert(
      adapter_policy<Adapter, Be>,
      "preheat: the adapter lacks a member of concept adapter_policy (core/concepts.hpp)");

 public:
  using scalar = scalar_of<Be>;
  using params = typename Adapter::template params<Be>;

  struct slot {
    bool attached = false;
    index_t starts = 0;  // how often an adapter was attached here, or its ranks chosen anew
    scalar scaling = 1;
    params parameters;
    params gradient;
  };

  template <network Net>
  explicit adapted(Net& net, Adapter adapter = {})
      : be_(&net.backend()), layers_(net.layers()), adapter_(std::move(adapter)) {
    slots_.resize(layers_.size());
    uses_.resize(layers_.size());
  }

  Be& backend() const { return *be_; }
  const Adapter& adapter() const { return adapter_; }
  std::vector<slot>& slots() { return slots_; }
  const std::vector<slot>& slots() const { return slots_; }

  frozen_linear<Be> base(index_t l) const {
    const layer<Be>& frozen = layers_[std::size_t(l)];
    return {frozen.W, frozen.b, slots_[std::size_t(l)].scaling};
  }
  void attach(index_t l, params p, scalar scaling) {
    slot& s = slots_[std::size_t(l)];
    s.parameters = std::move(p);
    s.scaling = scaling;
    s.gradient = zeros_like(*be_, s.parameters);
    s.attached = true;
    ++s.starts;
  }
  void detach(index_t l) { slots_[std::size_t(l)].attached = false; }
  // W += ΔW (and b, for adapters that train it); the layer is then detached.
  void fold(index_t l) {
    slot& s = slots_[std::size_t(l)];
    layer<Be>& frozen = layers_[std::size_t(l)];
    adapter_.merge(*be_, s.parameters, s.scaling, out<Be>(frozen.W), out<Be>(frozen.b));
    s.attached = false;
  }
  void zero_gradients() {
    for (slot& s : slots_) {
      if (s.attached) {
        set_zero(*be_, s.gradient);
      }
    }
  }

  // Dropout on the adapters' inputs, in training passes; `stream` is new for every batch. Where the
  // batch is the `part`-th of several equal parts, a token has the mask that it has in the whole.
  void set_dropout(double rate, generator stream, index_t part = 0) {
    dropout_ = rate;
    dropout_stream_ = stream;
    part_ = part;
  }
  // Told of every input of an attached layer in training passes.
  std::function<void(index_t layer, in<Be> X)> observe_input;
  // Told of every attached layer whose gradient this pass will not touch any more: its first use in
  // the forward pass is its last in the backward pass.
  std::function<void(index_t layer)> gradient_final;

  // --- concept linear_operator
  void begin(pass p) {
    training_ = p == pass::training;
    for (auto& u : uses_) {
      u.depth = 0;
    }
  }

  out<Be> forward(index_t l, in<Be> X) {
    const slot& s = slots_[std::size_t(l)];
    uses& all = uses_[std::size_t(l)];
    if (all.depth == index_t(all.list.size())) {
      all.list.emplace_back();
    }
    const index_t number = all.depth++;
    use& u = all.list[std::size_t(number)];
    const frozen_linear<Be> frozen = base(l);
    require(X.rows() == frozen.W.cols(), "features of the input = in of the layer", X.rows(),
            frozen.W.cols());
    be_->resize(u.Y, frozen.W.rows(), X.cols());
    if (!s.attached) {
      be_->gemm(1, op::none, frozen.W, op::none, X, 0, u.Y);
      if (!frozen.b.empty()) {
        be_->add_to_cols(frozen.b, u.Y);
      }
      return u.Y;
    }
    if (training_ && observe_input) {
      observe_input(l, X);
    }
    in<Be> branch = X;
    if (drops()) {
      be_->resize(u.dropped, X.rows(), X.cols());
      be_->each_indexed(mask(l, number, X), u.dropped, X);
      branch = u.dropped;
    }
    adapter_.forward(*be_, s.parameters, frozen, layer_input<Be>{X, branch}, out<Be>(u.Y), u.tape);
    return u.Y;
  }

  out<Be> backward(index_t l, in<Be> X, in<Be> dY, bool need_dx) {
    slot& s = slots_[std::size_t(l)];
    uses& all = uses_[std::size_t(l)];
    require(all.depth > 0, "backward follows a forward of the same pass", all.depth, index_t(1));
    const index_t number = --all.depth;
    use& u = all.list[std::size_t(number)];
    const frozen_linear<Be> frozen = base(l);
    if (need_dx) {
      be_->resize(u.dX, X.rows(), X.cols());
    }
    if (!s.attached) {
      if (!need_dx) {
        return {};
      }
      be_->gemm(1, op::trans, frozen.W, op::none, dY, 0, u.dX);
      return u.dX;
    }
    const bool dropping = drops();
    input_gradient<Be> dx;
    if (need_dx) {
      dx = {u.dX, u.dX};
      if (dropping) {
        be_->resize(u.d_dropped, X.rows(), X.cols());
        be_->fill(0, u.d_dropped);
        dx.branch = u.d_dropped;
      }
    }
    const in<Be> branch = dropping ? in<Be>(u.dropped) : X;
    adapter_.backward(*be_, s.parameters, frozen, layer_input<Be>{X, branch}, dY, s.gradient, dx,
                      u.tape);
    if (need_dx && dropping) {
      be_->each_indexed(add_dropout_kernel<scalar>{mask(l, number, X)}, u.dX, u.d_dropped);
    }
    if (number == 0 && gradient_final) {
      gradient_final(l);
    }
    return dx.base;
  }

  index_t first_trained() const {
    index_t l = 0;
    while (l < index_t(slots_.size()) && !slots_[std::size_t(l)].attached) {
      ++l;
    }
    return l;
  }

 private:
  // The buffers of one use of a layer in a pass; a layer used twice has two.
  struct use {
    mat<Be> Y, dX;
    mat<Be> dropped, d_dropped;
    typename Adapter::template tape<Be> tape;
  };
  struct uses {
    std::vector<use> list;
    index_t depth = 0;
  };

  bool drops() const { return training_ && dropout_ > 0; }
  // The mask of a layer's use in this pass, the same in forward and backward.
  dropout_kernel<scalar> mask(index_t l, index_t use_number, in<Be> X) const {
    const generator of_layer = dropout_stream_.fork(purpose::dropout, std::uint64_t(l));
    return {dropout_, of_layer.fork(purpose::dropout, std::uint64_t(use_number)), part_ * X.size()};
  }

  Be* be_;
  std::span<layer<Be>> layers_;
  Adapter adapter_;
  std::vector<slot> slots_;
  std::vector<uses> uses_;
  bool training_ = false;
  double dropout_ = 0;
  generator dropout_stream_{};
  index_t part_ = 0;
};

// The base alone.
template <backend Be>
using base_operator = adapted<Be, adapter::lora>;

}  // namespace preheat
