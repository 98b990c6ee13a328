// The buffers of a layer in a pass: one set for each use, because a layer that is used twice has two
// outputs. A network may ask an operator for less, if the operator has these members:
//
//   next_chunk(layer, first, columns)   the input comes in chunks of its columns, of which the next one
//                                       begins at column `first` of so many. Together they are one use:
//                                       in training passes each chunk's backward follows its forward,
//                                       and a chunk's output is valid until the next one
//   share_buffers(layer, a, b)          the layer computes its outputs in the buffers of layer a, and
//                                       its input's gradient in those of layer b: what they held before
//                                       is lost
//   forget_use(layer)                   no backward follows the layer's last forward
//   repeat(again)                       what follows repeats forwards of this pass: observers have seen
//                                       their inputs
#pragma once
#include <vector>

#include "../core/concepts.hpp"

namespace preheat {

// A part of an input.
struct input_chunk {
  index_t first = 0;
  index_t columns = 0;  // of all chunks; 0: the input is whole

  bool is_last(index_t size) const { return columns == 0 || first + size == columns; }
  // Among the columns of several equal inputs, of which this one is the `part`-th.
  index_t first_column(index_t part, index_t size) const {
    return part * (columns > 0 ? columns : size) + first;
  }
};

// The entry of this number of a list, which grows to have it.
template <class T>
[[gnu::noinline]] T& grown_entry(std::vector<T>& list, index_t number) {
  while (index_t(list.size()) <= number) {
    list.emplace_back();
  }
  return list[number];
}

// `Saved` is what an adapter's forward keeps for its backward.
template <class Be, class Saved>
struct layer_use {
  mat<Be> Y;
  activations<Be> rounded;  // Y of layers that compute together, if activations are rounded
  mat<Be> dropped, d_dropped;
  Saved saved_activations;

  activations<Be>& joined_output() {
    if constexpr (rounds_activations<Be>) {
      return rounded;
    } else {
      return Y;
    }
  }
};

template <class Be, class Saved>
struct layer_uses {
  std::vector<layer_use<Be, Saved>> list;
  index_t depth = 0;  // uses whose backward has not come
  input_chunk part{};

  void next_chunk(index_t first, index_t columns) {
    if (first == 0) {
      depth_before_chunks_ = depth;
    }
    depth = depth_before_chunks_;
    part = {first, columns};
  }

 private:
  index_t depth_before_chunks_ = 0;
};

}  // namespace preheat
