// Modules of LyCORIS (LoHa, LoKr, Tucker's lora_mid) in a file, as factors of plain LoRA
// (convert/lycoris_factors.hpp).
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <preheat/convert/lycoris_factors.hpp>
#include <preheat/peft/further_tensors.hpp>

#include "any_adapter.hpp"

namespace apps::adapter {

using preheat::host_factors;
using preheat::host_matrix;

inline constexpr std::array<std::string_view, 16> lycoris_parts = {
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1",
     "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "lora_mid.weight",
     "lora_down.weight", "lora_up.weight"}};

using parts_of_module = std::map<std::string, std::string>;  // the tensor's name by its part

class lycoris_reader {
 public:
  explicit lycoris_reader(std::shared_ptr<const safetensors::tensor_files> files)
      : files_(std::move(files)) {}

  any_layer layer(const std::string& module, const parts_of_module& parts) const {
    any_layer l;
    l.module = module;
    const auto shape = [&](const char* part) { return info(parts, part).shape; };
    const auto has = [&](const char* part) { return parts.contains(part); };
    double alpha = NAN;
    if (has("alpha")) {
      const std::string& name = parts.at("alpha");
      if (!safetensors::read_number(files_->info(name), alpha) || !std::isfinite(alpha)) {
        fail(name, "alpha is one finite number");
      }
    }
    index_t dim = 0;  // that α is divided by
    if (has("hada_w1_a") || has("hada_w2_a")) {
      for (const char* const part : {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}) {
        require_part(parts, part, module);
      }
      const bool tucker = has("hada_t1");
      dim = tucker ? shape("hada_w1_a")[0] : shape("hada_w1_b")[0];
      if (tucker) {
        require_part(parts, "hada_t2", module);
        l.kernel = kernel_of(shape("hada_t1"));
      }
    } else if (has("lora_mid.weight")) {
      require_part(parts, "lora_up.weight", module);
      require_part(parts, "lora_down.weight", module);
      dim = shape("lora_up.weight")[1];
      l.kernel = kernel_of(shape("lora_mid.weight"));
    } else {
      for (const char* const number : {"lokr_w1", "lokr_w2"}) {
        const std::string whole = number;
        if (!has(whole.c_str())) {
          require_part(parts, (whole + "_a").c_str(), module);
          require_part(parts, (whole + "_b").c_str(), module);
          dim = shape((whole + "_b").c_str())[0];
        } else if (shape(whole.c_str()).size() > 2) {
          l.kernel = kernel_of(shape(whole.c_str()));
        }
      }
      if (has("lokr_t2")) {
        l.kernel = kernel_of(shape("lokr_t2"));
      } else if (has("lokr_w2_b") && shape("lokr_w2_b").size() > 2) {
        l.kernel = kernel_of(shape("lokr_w2_b"));
      }
    }
    // Kronecker products of two whole matrices have no dimension, and the scale 1.
    l.scaling = dim > 0 && std::isfinite(alpha) ? alpha / double(dim) : 1;
    const host_factors<double> f = factors(parts);
    l.out = f.B.rows;
    l.in = f.A.cols;
    l.rank = f.A.rows;
    const std::string& first = parts.begin()->first == "alpha" && parts.size() > 1
                                   ? std::next(parts.begin())->second
                                   : parts.begin()->second;
    l.type = files_->info(first).type;
    l.read = [self = *this, parts] {
      const host_factors<double> now = self.factors(parts);
      return stored_factors<double>{turned(now.A), turned(now.B)};
    };
    return l;
  }

 private:
  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw preheat::invalid_argument(files_->source().string() + ": tensor \"" + tensor +
                                    "\": " + problem);
  }
  void require_part(const parts_of_module& parts, const char* part,
                    const std::string& module) const {
    if (!parts.contains(part)) {
      fail(parts.begin()->second, "module " + module + " has no " + part + " beside it");
    }
  }
  const safetensors::tensor_info& info(const parts_of_module& parts, const char* part) const {
    const std::string& name = parts.at(part);
    const safetensors::tensor_info& tensor = files_->info(name);
    if (tensor.shape.size() < 2 || tensor.count() == 0 || !safetensors::is_floating(tensor.type)) {
      fail(name,
           "it is a matrix of numbers; its shape is " + safetensors::shape_text(tensor.shape));
    }
    return tensor;
  }
  static std::vector<index_t> kernel_of(const std::vector<index_t>& shape) {
    return {shape.begin() + std::min<std::ptrdiff_t>(2, std::ssize(shape)), shape.end()};
  }

  // A tensor as [rows, all the rest].
  host_matrix<double> read(const parts_of_module& parts, const char* part) const {
    const safetensors::tensor_info& tensor = info(parts, part);
    peft::require_sound(*files_, parts.at(part));
    const index_t rows = tensor.shape[0];
    host_matrix<double> turned(tensor.count() / rows, rows);
    safetensors::read_rows<double>(parts.at(part), tensor, 0,
                                   view<double>(turned.values.data(), turned.rows, rows));
    return transposed_of(turned);
  }
  static host_matrix<double> transposed_of(const host_matrix<double>& M) {
    host_matrix<double> to(M.cols, M.rows);
    for (index_t j = 0; j < M.cols; ++j) {
      for (index_t i = 0; i < M.rows; ++i) {
        to(j, i) = M(i, j);
      }
    }
    return to;
  }
  static matrix<double> turned(const host_matrix<double>& M) {
    matrix<double> to(M.cols, M.rows);
    for (index_t j = 0; j < M.rows; ++j) {
      for (index_t i = 0; i < M.cols; ++i) {
        to.data()[i + j * to.ld()] = M(j, i);
      }
    }
    return to;
  }
  static index_t product_of(const std::vector<index_t>& extents) {
    index_t product = 1;
    for (const index_t e : extents) {
      product *= e;
    }
    return product;
  }

  host_factors<double> hadamard_part(const parts_of_module& parts, const char* a, const char* b,
                                     const char* t) const {
    if (!parts.contains(t)) {
      return {read(parts, a), read(parts, b)};
    }
    const index_t kernel = product_of(kernel_of(info(parts, t).shape));
    return {transposed_of(read(parts, a)),
            preheat::tucker_inputs(read(parts, t), read(parts, b), kernel)};
  }
  host_factors<double> kronecker_part(const parts_of_module& parts,
                                      const std::string& whole) const {
    if (parts.contains(whole)) {
      return preheat::as_factors(read(parts, whole.c_str()));
    }
    const std::string a = whole + "_a";
    const std::string b = whole + "_b";
    if (whole == "lokr_w2" && parts.contains("lokr_t2")) {
      const index_t kernel = product_of(kernel_of(info(parts, "lokr_t2").shape));
      return {transposed_of(read(parts, a.c_str())),
              preheat::tucker_inputs(read(parts, "lokr_t2"), read(parts, b.c_str()), kernel)};
    }
    return {read(parts, a.c_str()), read(parts, b.c_str())};
  }
  host_factors<double> factors(const parts_of_module& parts) const {
    if (parts.contains("hada_w1_a")) {
      return preheat::hadamard_factors(hadamard_part(parts, "hada_w1_a", "hada_w1_b", "hada_t1"),
                                       hadamard_part(parts, "hada_w2_a", "hada_w2_b", "hada_t2"));
    }
    if (parts.contains("lora_mid.weight")) {
      const index_t kernel = product_of(kernel_of(info(parts, "lora_mid.weight").shape));
      return {read(parts, "lora_up.weight"),
              preheat::tucker_inputs(read(parts, "lora_mid.weight"),
                                     read(parts, "lora_down.weight"), kernel)};
    }
    return preheat::kronecker_factors(kronecker_part(parts, "lokr_w1"),
                                      kronecker_part(parts, "lokr_w2"));
  }

  std::shared_ptr<const safetensors::tensor_files> files_;
};

}  // namespace apps::adapter
