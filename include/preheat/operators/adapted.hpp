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
      : adapted(net.backend(), net.layers(), std::move(adapter), products) {}
  // The same by the layers of a network.
  adapted(Be& be, std::span<base_layer<Be>> layers, Adapter adapter, layer_products products);

  Be& backend() const { return *be_; }
  const Adapter& adapter() const { return adapter_; }
  std::vector<adapted_layer>& layers() { return adapted_layers_; }
  const std::vector<adapted_layer>& layers() const { return adapted_layers_; }

  frozen_linear<Be> base(index_t l) const {
    return {weight(l), layers_[l].b, adapted_layers_[l].scaling};
  }
  void attach(index_t l, params p, scalar scaling);
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
  void zero_gradients();

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
  using saved_activations = typename Adapter::template saved_activations<Be>;
  using use = layer_use<Be, saved_activations>;
  using uses = layer_uses<Be, saved_activations>;
  uses& uses_of(index_t l) { return uses_[outputs_[l]]; }
  // The number of a further use of the layer, which has buffers.
  index_t next_use(index_t l) {
    uses& all = uses_of(l);
    grown_entry(all.list, all.depth);
    return all.depth++;
  }

  template <class M>
  M& buffer_of_gradient(std::vector<std::vector<M>>& all, index_t l, index_t use_number) {
    return grown_entry(all[gradients_[l]], use_number);
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

// The base alone.
template <backend Be>
using base_operator = adapted<Be, adapter::lora>;

}  // namespace preheat

#include "adapted_joined.hpp"
#include "adapted_members.hpp"
