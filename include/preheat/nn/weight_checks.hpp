// Whether weights that were read have the shapes that a network's config asks for, and finite entries.
#pragma once
#include <string>

#include "../core/concepts.hpp"
#include "../linalg/elementwise.hpp"

namespace preheat::nn {

template <class M>
void require_shape(const M& x, index_t rows, index_t cols, const std::string& name) {
  require(x.rows() == rows, name + ": rows as the config says", x.rows(), rows);
  require(x.cols() == cols, name + ": columns as the config says", x.cols(), cols);
}
template <backend Be>
void require_weight(Be& be, const_view_of<Be> x, index_t rows, index_t cols,
                    const std::string& name) {
  require_shape(x, rows, cols, name);
  linalg::require_finite(be, x, name);
}
// A linear layer of this name and shape, with a bias or without. Who reads a stored W has looked at
// its entries.
template <backend Be>
void require_linear(Be& be, const base_layer<Be>& layer, const std::string& name, index_t rows,
                    index_t cols, bool bias) {
  require(layer.name == name,
          "the layer after the one before is '" + name + "', not '" + layer.name + "'");
  require_shape(layer.W, rows, cols, name + ": W");
  if (!is_stored<Be>(layer.W)) {
    linalg::require_finite(be, layer.W, name + ": W");
  }
  require_weight<Be>(be, layer.b, bias ? rows : 0, bias ? 1 : layer.b.cols(), name + ": b");
}

}  // namespace preheat::nn
