// Layers of an adapted operator that compute together (bordered_group.hpp). A network that has layers with one input
// may ask for it, if its operator has these members (nn/layers_together.hpp):
//
//   joins(first, count)                         whether these consecutive layers compute together in this pass
//   border(first, count)                        how many rows of room the operator can use: below X in forward, below dY
//                                               in backward; numbers there are overwritten
//   forward_joined(first, count, X, room)       their outputs, one below the other
//   backward_joined(first, count, X, dY, room, need_dx, make)   from the gradients of those; the sum of dX, empty unless
//                                               wanted. X is read only after make(dX), which may write X and change dX
//
// Layers are joined if the operator was made so (layer_products::joined, as fit's is), the backend can, the adapter is adapter::lora, at least one
// of them has an adapter, all that have one have the same scale s, their inputs have one size and no W is kept as
// stored (where activations are rounded: every W is stored, in their type or packed); not in training passes with
// dropout, whose branch has an input of its own. Other layers are computed one by one.
#pragma once
#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <vector>

#include "bordered_group.hpp"

namespace preheat {

// With `joined` the matrices of the network's layers may become parts of larger ones: a view of W that was made
// before is then invalid.
enum class layer_products { one_by_one, joined };

template <class Be, class Adapter>
concept joins_adapters = joins_matrices<Be> && std::same_as<Adapter, adapter::lora>;

// The groups of an operator. `adapted` are all its layers' adapters.
template <class Be, class Adapter>
class joined_layers {
 public:
  explicit joined_layers(layer_products) {}
  template <class Params>
  static Params own(Be&, Params p) {
    return p;
  }
  template <class Adapted>
  static index_t border(const Adapted&, index_t, index_t) {
    return 0;
  }
};

template <class Be, class Adapter>
requires joins_adapters<Be, Adapter>
class joined_layers<Be, Adapter> {
 public:
  explicit joined_layers(layer_products products) : products_(products) {}

  bool asked() const { return products_ == layer_products::joined; }
  template <class Layers, class Adapted>
  static bool fit_together(const Layers& layers, const Adapted& adapted, index_t first,
                           index_t count) {
    index_t attached = count;  // the first that is
    for (index_t k = 0; k < count; ++k) {
      const std::size_t l = std::size_t(first + k);
      if (!joins_weight<Be>(layers[l].W) ||
          layers[l].W.cols() != layers[std::size_t(first)].W.cols()) {
        return false;
      }
      if (adapted[l].attached) {
        attached = std::min(attached, k);
        if (adapted[l].scaling != adapted[std::size_t(first + attached)].scaling) {
          return false;
        }
      }
    }
    return attached < count;
  }

  // The same parameters in memory of their own.
  static adapter::lora::params<Be> own(Be& be, adapter::lora::params<Be> p) {
    return {clone(be, const_view_of<Be>(p.A)), clone(be, const_view_of<Be>(p.B))};
  }

  // An input as observers see it.
  const_view_of<Be> scalars(Be& be, const_activation_view<Be> X) {
    return converted<scalar_of<Be>>(be, X, wide_);
  }

  template <class Adapted>
  static index_t border(const Adapted& adapted, index_t first, index_t count) {
    index_t rows = 0;
    if constexpr (rounds_activations<Be>) {
      for (std::size_t l = std::size_t(first); l < std::size_t(first + count); ++l) {
        rows += adapted[l].attached ? adapted[l].parameters.A.rows() : 0;
      }
    }
    return rows;
  }

  // The scale of those that have an adapter.
  template <class Adapted>
  static scalar_of<Be> scaling(const Adapted& adapted, index_t first) {
    std::size_t l = std::size_t(first);
    while (!adapted[l].attached) {
      ++l;
    }
    return adapted[l].scaling;
  }

  // A pass follows: rounded copies of factors become those of the factors as they are.
  template <class Layers, class Adapted>
  void refresh(Be& be, Layers& layers, Adapted& adapted) {
    if constexpr (rounds_activations<Be>) {
      in_few_launches(be, [&] {
        for (std::size_t first = 0; first < groups_.size(); ++first) {
          if (groups_[first].count() > 0) {
            members_of(layers, adapted, index_t(first), index_t(groups_[first].count()));
            groups_[first].refresh(be, scaling(adapted, index_t(first)), members_);
          }
        }
      });
    }
  }

  // The group of these layers, with everything in its place.
  template <class Layers, class Adapted>
  bordered_group<Be>& group(Be& be, Layers& layers, Adapted& adapted, index_t first,
                            index_t count) {
    groups_.resize(layers.size());
    members_of(layers, adapted, first, count);
    bordered_group<Be>& found = groups_[std::size_t(first)];
    found.gather(be, scaling(adapted, first), members_, scratch_);
    return found;
  }

 private:
  using member = typename bordered_group<Be>::member;

  template <class Layers, class Adapted>
  void members_of(Layers& layers, Adapted& adapted, index_t first, index_t count) {
    members_.clear();
    for (std::size_t l = std::size_t(first); l < std::size_t(first + count); ++l) {
      const bool attached = adapted[l].attached;
      members_.push_back({&layers[l].W, &layers[l].b, attached ? &adapted[l].parameters : nullptr,
                          attached ? &adapted[l].gradient : nullptr});
    }
  }

  layer_products products_;
  std::vector<bordered_group<Be>> groups_;  // of the layer that is their first
  std::vector<member> members_;
  // M of the groups with a packed W, in a pass.
  std::shared_ptr<activations<Be>> scratch_ = std::make_shared<activations<Be>>();
  mat<Be> wide_;
};

}  // namespace preheat
