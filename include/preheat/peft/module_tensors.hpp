// What every reader of adapters does with a module: it finds the module's layer in the network, and reads
// a tensor of it.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "../core/network.hpp"
#include "../linalg/elementwise.hpp"
#include "../safetensors/tensor_files.hpp"
#include "../safetensors/tensor_values.hpp"

namespace preheat::peft::detail {

// A tensor [rows, cols] of an adapter as rows × cols.
template <backend Be>
mat<Be> read_matrix(Be& be, const safetensors::tensor_files& from, const std::string& name,
                    index_t rows, index_t cols) {
  using T = scalar_of<Be>;
  std::vector<T> host(static_cast<std::size_t>(rows * cols));
  safetensors::read_rows<T>(name, from.info(name), 0, view<T>(host.data(), cols, rows));
  mat<Be> stored = be.zeros(cols, rows);
  be.upload(host, stored);
  linalg::require_finite<Be>(be, stored,
                             from.source().string() + ": tensor " + files::in_quotes(name));
  mat<Be> M = be.zeros(rows, cols);
  be.copy(transpose::yes, stored, M);
  return M;
}

// The number of the network's layer that a module is; -1 if there is none.
template <network Net>
index_t layer_of_module(Net& net, const std::string& module) {
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    const std::string& name = net.layers()[l].name;
    if (module == name || module.ends_with("." + name)) {
      return index_t(l);
    }
  }
  return -1;
}

}  // namespace preheat::peft::detail
