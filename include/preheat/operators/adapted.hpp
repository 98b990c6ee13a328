// The linear operator of a network under adaptation: every layer computes W·x + b, and with an
// adapter attached (W + ΔW)·x + b. The operator owns the adapters' parameters, their gradients and
// the buffers of a pass; the network owns W and b.
//
//   adapted<Be, adapter::lora> linear(net);          // nothing attached: the base alone
//   float loss = net.loss(batch, linear);
#pragma once
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "../adapter/frozen.hpp"
#include "../adapter/lora.hpp"
#include "../core/complete.hpp"
#include "../core/dropout_kernel.hpp"
#include "../core/optional_members.hpp"
#include "joined_layers.hpp"
#include "layer_uses.hpp"
#include "trained_counts.hpp"

namespace preheat {

template <backend Be, class Adapter>
class adapted {
  static_assert(adapter_is_complete<Adapter, Be>());

 public:
  using scalar = scalar_of<Be>;
  using params = typename Adapter::template params<Be>;
  using input = const_activation_view<Be>;  // of layers that compute together
  using output = activation_view<Be>;

  struct adapted_layer {
    bool attached = false;
    index_t starts = 0;  // how often an adapter was attached here, or its ranks chosen anew
    scalar scaling = 1;
    params parameters;
    params gradient;
  };

  template <network Net>
  explicit adapted(Net& net, Adapter adapter = {},
                   layer_products products = layer_products::one_by_one)
      : be_(&net.backend()),
        layers_(net.layers()),
        adapter_(std::move(adapter)),
        joined_{products} {
    adapted_layers_.resize(layers_.size());
    uses_.resize(layers_.size());
    for (index_t l = 0; l < index_t(layers_.size()); ++l) {
      outputs_.push_back(l);
      gradients_.push_back(l);
    }
  }

  Be& backend() const { return *be_; }
  const Adapter& adapter() const { return adapter_; }
  std::vector<adapted_layer>& layers() { return adapted_layers_; }
  const std::vector<adapted_layer>& layers() const { return adapted_layers_; }

  frozen_linear<Be> base(index_t l) const {
    return {weight(l), layers_[l].b, adapted_layers_[l].scaling};
  }
  void attach(index_t l, params p, scalar scaling) {
    adapted_layer& s = adapted_layers_[l];
    s.parameters = std::move(p);
    s.scaling = scaling;
    s.gradient = zeros_like(*be_, s.parameters);
    s.attached = true;
    ++s.starts;
    room_ = {};  // an init may have asked for all of W
  }
  void detach(index_t l) { adapted_layers_[l].attached = false; }
  // The parameters of a layer, in memory of their own.
  params take_parameters(index_t l) {
    return joined_.own(*be_, std::move(adapted_layers_[l].parameters));
  }
  // W += ΔW (and b, for adapters that train it); the layer is then detached.
  void merge(index_t l) {
    adapted_layer& s = adapted_layers_[l];
    base_layer<Be>& frozen = layers_[l];  // a stored W refuses
    merge_into(adapter_, *be_, s.parameters, s.scaling, view_of<Be>(frozen.W),
               view_of<Be>(frozen.b));
    s.attached = false;
  }
  void zero_gradients() {
    in_few_launches(*be_, [&] {
      for (adapted_layer& s : adapted_layers_) {
        if (s.attached) {
          set_zero(*be_, s.gradient);
        }
      }
    });
  }

  // Dropout on the adapters' inputs in training passes; `stream` is new for every batch. If the
  // batch is the `part`-th of several equal parts, every token gets the mask that it has in the
  // whole batch.
  void set_dropout(double rate, generator stream, index_t part = 0) {
    dropout_ = rate;
    dropout_stream_ = stream;
    part_ = part;
  }
  // Called with every input of an attached layer in training passes.
  std::function<void(index_t layer, const_view_of<Be> X)> observe_input;
  // Called for every attached layer when this pass has completed its gradient: a layer's first use
  // in the forward pass is its last in the backward pass.
  std::function<void(index_t layer)> gradient_final;

  // A pass follows. If the network does not call begin(), its first forward is refused.
  void expect_pass() { begun_ = false; }

  // --- concept linear_operator
  void begin(pass_kind p) {
    begun_ = true;
    training_ = p == pass_kind::training;
    if constexpr (joins_adapters<Be, Adapter>) {
      joined_.refresh(*be_, layers_, adapted_layers_);
    }
    again_ = false;
    for (auto& u : uses_) {
      u.depth = 0;
      u.part = {};
    }
  }
  // --- what a network may ask for besides (operators/layer_uses.hpp)
  void next_chunk(index_t l, index_t first, index_t columns) {
    uses_of(l).next_chunk(first, columns);
  }
  void share_buffers(index_t l, index_t outputs, index_t gradient) {
    outputs_[l] = outputs;
    gradients_[l] = gradient;
  }
  void forget_use(index_t l) { --uses_of(l).depth; }
  void repeat(bool again) { again_ = again; }

  view_of<Be> forward(index_t l, const_view_of<Be> X);
  view_of<Be> backward(index_t l, const_view_of<Be> X, const_view_of<Be> dY, bool need_dx);

  // --- layers that compute together, if the operator was told that layer_products are joined (joined_layers.hpp)
  template <class B = Be>
  requires joins_adapters<B, Adapter>
  bool joins(index_t first, index_t count) const {
    return joined_.asked() && !drops() &&
           joined_.fit_together(layers_, adapted_layers_, first, count);
  }
  index_t border(index_t first, index_t count) const {
    return joined_.border(adapted_layers_, first, count);
  }
  template <class B = Be>
  requires joins_adapters<B, Adapter> output forward_joined(index_t first, index_t count, input X,
                                                            index_t room);
  template <class Make, class B = Be>
  requires joins_adapters<B, Adapter> output backward_joined(index_t first, index_t count, input X,
                                                             input dY, index_t room, bool need_dx,
                                                             Make&& make);

  index_t first_trained() const {
    index_t l = 0;
    while (l < index_t(adapted_layers_.size()) && !adapted_layers_[l].attached) {
      ++l;
    }
    return l;
  }

 protected:
  // W of a layer; a stored one is unpacked in the operator's room.
  weight_view_of<Be> weight(index_t l) const { return view_in<Be>(*be_, layers_[l].W, room_); }

 private:
  using use = layer_use<Be, Adapter>;
  using uses = layer_uses<Be, Adapter>;
  uses& uses_of(index_t l) { return uses_[outputs_[l]]; }
  // The number of a further use of the layer, which has buffers.
  index_t next_use(index_t l) {
    uses& all = uses_of(l);
    while (index_t(all.list.size()) <= all.depth) {
      all.list.emplace_back();
    }
    return all.depth++;
  }

  template <class M>
  M& buffer_of_gradient(std::vector<std::vector<M>>& all, index_t l, index_t use_number) {
    all.resize(layers_.size());
    std::vector<M>& list = all[gradients_[l]];
    while (index_t(list.size()) <= use_number) {
      list.emplace_back();
    }
    return list[use_number];
  }

  bool drops() const { return training_ && dropout_ > 0; }
  // The mask of a layer's use in this pass, the same in forward and backward.
  dropout_kernel<scalar> mask(index_t l, index_t use_number, const_view_of<Be> X) const {
    const generator of_layer = dropout_stream_.fork(purpose::dropout, std::uint64_t(l));
    return {dropout_, of_layer.fork(purpose::dropout, std::uint64_t(use_number)),
            uses_[outputs_[l]].part.first_column(part_, X.cols()) * X.rows()};
  }

  Be* be_;
  std::span<base_layer<Be>> layers_;
  Adapter adapter_;
  std::vector<adapted_layer> adapted_layers_;
  std::vector<uses> uses_;
  std::vector<index_t> outputs_;    // the uses that a layer computes in, its own unless shared
  std::vector<index_t> gradients_;  // likewise of input_gradients_
  std::vector<std::vector<mat<Be>>> input_gradients_;
  std::vector<std::vector<activations<Be>>> joined_gradients_;  // of layers that compute together
  [[no_unique_address]] mutable weight_room_of<Be> room_;
  [[no_unique_address]] joined_layers<Be, Adapter> joined_;
  bool again_ = false;
  bool begun_ = false;
  bool training_ = false;
  double dropout_ = 0;
  generator dropout_stream_{};
  index_t part_ = 0;
};

// (Outside the class, and so not inline, that preheat::kernels can have them compiled.)
template <backend Be, class Adapter>
view_of<Be> adapted<Be, Adapter>::forward(index_t l, const_view_of<Be> X) {
  require(begun_, "a network calls linear.begin(pass_kind) before the first forward of a pass");
  const adapted_layer& s = adapted_layers_[l];
  if constexpr (joins_adapters<Be, Adapter> && !rounds_activations<Be>) {
    if (joins(l, 1)) {
      return forward_joined(l, 1, X, 0);
    }
  }
  const index_t number = next_use(l);
  use& u = uses_of(l).list[number];
  const frozen_linear<Be> frozen = base(l);
  require(X.rows() == frozen.W.cols(), "features of the input = in of the layer", X.rows(),
          frozen.W.cols());
  be_->resize(u.Y, frozen.W.rows(), X.cols());
  if (!s.attached) {
    adapter::frozen_forward<Be>(*be_, frozen, X, u.Y);
    return u.Y;
  }
  if (training_ && observe_input && !again_) {
    observe_input(l, X);
  }
  const_view_of<Be> adapter_input = X;
  if (drops()) {
    be_->resize(u.dropped, X.rows(), X.cols());
    be_->apply_indexed(mask(l, number, X), u.dropped, X);
    adapter_input = u.dropped;
  }
  adapter_.forward(*be_, s.parameters, frozen, layer_input<Be>{X, adapter_input}, view_of<Be>(u.Y),
                   u.saved_activations);
  return u.Y;
}

template <backend Be, class Adapter>
view_of<Be> adapted<Be, Adapter>::backward(index_t l, const_view_of<Be> X, const_view_of<Be> dY,
                                           bool need_dx) {
  if constexpr (joins_adapters<Be, Adapter> && !rounds_activations<Be>) {
    if (joins(l, 1)) {
      return backward_joined(l, 1, X, dY, 0, need_dx, [](view_of<Be>) {});
    }
  }
  adapted_layer& s = adapted_layers_[l];
  uses& all = uses_of(l);
  require(all.depth > 0, "backward follows a forward of the same pass", all.depth, index_t(1));
  const index_t number = --all.depth;
  use& u = all.list[number];
  const frozen_linear<Be> frozen = base(l);
  mat<Be>& dX = buffer_of_gradient(input_gradients_, l, number);
  if (need_dx) {
    be_->resize(dX, X.rows(), X.cols());
  }
  if (!s.attached) {
    if (!need_dx) {
      return {};
    }
    adapter::frozen_backward<Be>(*be_, frozen, dY, dX);
    return dX;
  }
  const bool dropping = drops();
  input_gradient<Be> dx;
  if (need_dx) {
    dx = {dX, dX};
    if (dropping) {
      be_->resize(u.d_dropped, X.rows(), X.cols());
      be_->fill(0, u.d_dropped);
      dx.adapter_input = u.d_dropped;
    }
  }
  const const_view_of<Be> adapter_input = dropping ? const_view_of<Be>(u.dropped) : X;
  adapter_.backward(*be_, s.parameters, frozen, layer_input<Be>{X, adapter_input}, dY, s.gradient,
                    dx, u.saved_activations);
  if (need_dx && dropping) {
    be_->apply_indexed(add_dropout_kernel<scalar>{mask(l, number, X)}, dX, u.d_dropped);
  }
  if (number == 0 && gradient_final && all.part.is_last(X.cols())) {
    gradient_final(l);
  }
  return dx.base;
}

// The base alone.
template <backend Be>
using base_operator = adapted<Be, adapter::lora>;

}  // namespace preheat

#include "adapted_joined.hpp"
