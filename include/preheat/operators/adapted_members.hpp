// The members of `adapted` that compute: defined outside the class, and so not inline, that preheat::kernels
// can have them compiled.
#pragma once
#include <numeric>
#include <span>
#include <utility>

#include "adapted.hpp"

namespace preheat {

template <backend Be, class Adapter>
[[gnu::cold]] adapted<Be, Adapter>::adapted(Be& be, std::span<base_layer<Be>> layers,
                                            Adapter adapter, layer_products products)
    : be_(&be),
      layers_(layers),
      adapter_(std::move(adapter)),
      adapted_layers_(layers.size()),
      uses_(layers.size()),
      outputs_(layers.size()),
      gradients_(layers.size()),
      input_gradients_(layers.size()),
      joined_gradients_(layers.size()),
      joined_{products} {
  std::iota(outputs_.begin(), outputs_.end(), index_t(0));
  std::iota(gradients_.begin(), gradients_.end(), index_t(0));
}

template <backend Be, class Adapter>
[[gnu::cold]] void adapted<Be, Adapter>::attach(index_t l, params p, scalar scaling) {
  adapted_layer& s = adapted_layers_[l];
  s.parameters = std::move(p);
  s.scaling = scaling;
  s.gradient = zeros_like(*be_, s.parameters);
  s.attached = true;
  ++s.starts;
  room_ = {};  // an init may have asked for all of W
}

template <backend Be, class Adapter>
void adapted<Be, Adapter>::zero_gradients() {
  in_few_launches(*be_, [&] {
    for (adapted_layer& s : adapted_layers_) {
      if (s.attached) {
        set_zero(*be_, s.gradient);
      }
    }
  });
}

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

}  // namespace preheat
