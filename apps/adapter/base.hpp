// The weights of a base model: found by the names of modules, rewritten from file to file, some rows at a
// time.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>

#include <preheat/safetensors/copy.hpp>
#include <preheat/safetensors/tensor_values.hpp>

#include "factors.hpp"

namespace apps::adapter {

// Refuses what stands for a quantized weight rather than being one. Errors: invalid_argument, naming the
// tensor.
inline void require_weight(const safetensors::tensor_files& base, const std::string& name) {
  const safetensors::tensor_info& tensor = base.info(name);
  if (!safetensors::is_floating(tensor.type)) {
    throw preheat::invalid_argument(
        base.source().string() + ": tensor \"" + name + "\" is stored as " +
        std::string(safetensors::name_of(tensor.type)) +
        ": a quantized base; use the model in F32, F16 or BF16, or, of NF4 and "
        "FP8, let merge dequantize it with --dtype");
  }
}

// Refuses a module that the base has quantized.
inline void refuse_quantized(const safetensors::tensor_files& base, const std::string& module) {
  for (const char* const quantized :
       {".qweight", ".weight_packed", ".weight.absmax", ".SCB", ".weight.SCB"}) {
    if (base.contains(module + quantized)) {
      throw preheat::invalid_argument(
          base.source().string() + ": module " + module + " has \"" + module + quantized +
          "\": a quantized base; use the model in F32, F16 or BF16, or, of "
          "NF4, let merge dequantize it with --dtype");
    }
  }
}

// The weight of a module, "<module>.weight". Errors: there is none, or it is quantized.
inline std::string weight_name(const safetensors::tensor_files& base, const std::string& module) {
  refuse_quantized(base, module);
  const std::string name = module + ".weight";
  require_weight(base, name);
  return name;
}

// M ← diag(m/‖column‖)·M by columns, from entry `first` of m on.
template <class T>
void set_lengths(const matrix<T>& magnitude, index_t first, view<T> W) {
  for (index_t j = 0; j < W.cols(); ++j) {
    const view<T> row = W.col_range(j, 1);
    const double length = norm<T>(row);
    multiply<T>(length > 0 ? double(magnitude.data()[first + j]) / length : 0, row);
  }
}

// Calls change(W, first) for pieces of a weight [rows, columns], each some of its rows as columns of W
// (columns×some), in the precision T, and writes them as `to_name`. A tensor of more dimensions has the
// product of the last ones as columns. Returns whether a number is another than before, as stored. Errors: a
// NaN or infinity in the weight.
template <class T, class Change>
bool rewrite_rows(const safetensors::tensor_files& base, const std::string& name,
                  safetensors::stream& to, const std::string& to_name, safetensors::dtype stored,
                  const Change& change) {
  const safetensors::tensor_info& tensor = base.info(name);
  const index_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  const index_t columns = rows > 0 ? tensor.count() / rows : 0;
  constexpr index_t entries = 4'000'000;
  const index_t most = std::max<index_t>(1, entries / std::max<index_t>(1, columns));
  bool changed = false;
  for (index_t first = 0; first < rows; first += most) {
    const index_t count = std::min(most, rows - first);
    matrix<T> W(columns, count);
    safetensors::read_rows<T>(name, tensor, first * columns, W);
    base.release(name);
    require_finite<T>(base, name, W);
    const std::vector<std::byte> before = safetensors::rows_as_bytes<T>(name, W, stored);
    change(view<T>(W), first);
    const std::vector<std::byte> after = safetensors::rows_as_bytes<T>(name, W, stored);
    changed = changed || before != after;
    to.write(to_name, after,
             std::size_t(first * columns) * std::size_t(safetensors::size_of(stored)));
  }
  return changed;
}

}  // namespace apps::adapter
