// The passes of an adapted operator's layers that compute together (joined_layers.hpp). Their outputs and gradients
// lie in the buffers of the first one.
#pragma once
#include "adapted.hpp"

namespace preheat {

template <backend Be, class Adapter>
template <class B>
requires joins_adapters<B, Adapter>
typename adapted<Be, Adapter>::output adapted<Be, Adapter>::forward_joined(index_t first,
                                                                           index_t count, input X,
                                                                           index_t room) {
  require(begun_, "a network calls linear.begin(pass_kind) before the first forward of a pass");
  bordered_group<Be>& group = joined_.group(*be_, layers_, adapted_layers_, first, count);
  require(X.rows() == layers_[first].W.cols(), "features of the input = in of the layer", X.rows(),
          layers_[first].W.cols());
  for (index_t l = first; l < first + count; ++l) {
    if (adapted_layers_[l].attached && training_ && observe_input && !again_) {
      observe_input(l, joined_.scalars(*be_, X));
    }
    next_use(l);
  }
  uses& all = uses_of(first);
  return group.forward(*be_, joined_.scaling(adapted_layers_, first), X, room,
                       all.list[all.depth - 1].joined_output());
}

template <backend Be, class Adapter>
template <class Make, class B>
requires joins_adapters<B, Adapter>
typename adapted<Be, Adapter>::output adapted<Be, Adapter>::backward_joined(
    index_t first, index_t count, input X, input dY, index_t room, bool need_dx, Make&& make) {
  uses& all = uses_of(first);
  for (index_t l = first; l < first + count; ++l) {
    require(uses_of(l).depth > 0, "backward follows a forward of the same pass", uses_of(l).depth,
            index_t(1));
    --uses_of(l).depth;
  }
  bordered_group<Be>& group = joined_.group(*be_, layers_, adapted_layers_, first, count);
  const activation_view<Be> dX =
      group.backward(*be_, joined_.scaling(adapted_layers_, first), X, dY, room,
                     all.list[all.depth].joined_output(),
                     buffer_of_gradient(joined_gradients_, first, all.depth), need_dx, make);
  for (index_t l = first; l < first + count; ++l) {
    if (adapted_layers_[l].attached && all.depth == 0 && gradient_final &&
        all.part.is_last(X.cols())) {
      gradient_final(l);
    }
  }
  return dX;
}

}  // namespace preheat
