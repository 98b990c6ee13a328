// A trained adapter of a decoder as a GGUF file that llama.cpp loads on the same base model
// (adapter_tensors.hpp has the layout). What peft::save is for PEFT's folders.
//
//   const auto report = fit(method<>{}, net, batches, options);
//   gguf::save_adapter(report, net, "lora.gguf", {.architecture = "llama"});
//
// The file has one alpha and llama.cpp scales by alpha/r: alpha is s·r of the first layer, and where
// s·r of another layer differs (rsLoRA with ranks that differ, alpha patterns), the factor goes into
// its B. Adapters of other kinds are stored as their factors A and B if these give the same output.
//
// Errors: invalid_argument, before anything is written, as peft::save: a run that changed the base,
// no layer with an adapter, a number that is not finite or too large for the type, a scaling that is
// not finite or 0; a layer that has no name in GGUF files; io_error as files::atomic_file. DoRA and
// biases of B, which such a file cannot hold, do not compile. Cost: a copy of the factors.
#pragma once
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "../peft/save.hpp"
#include "adapter_tensors.hpp"
#include "writer.hpp"

namespace preheat::gguf {

struct adapter_options {
  std::string architecture{};             // of the base model, as general.architecture of its file
  tensor_type stored = tensor_type::F32;  // or F16, BF16
  std::string name{};                     // general.name; empty: none
};

namespace detail {

// The rows of the file, row-major: column i of `rows` times the factor goes to place order(i).
template <class T, class Order>
std::vector<T> reordered(view<const T> rows, T factor, const Order& order) {
  std::vector<T> to(std::size_t(rows.size()));
  for (index_t i = 0; i < rows.cols(); ++i) {
    for (index_t j = 0; j < rows.rows(); ++j) {
      to[std::size_t(order(i) * rows.rows() + j)] = factor * rows.data()[i * rows.ld() + j];
    }
  }
  return to;
}

template <class Net>
void add_adapter_layer(Net& net, const peft::detail::layer_to_save<typename Net::backend_type>& l,
                       double alpha, const adapter_options& options, writer& file) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  const auto weight = gguf_name(options.architecture, l.layer + ".weight");
  require(weight.has_value(), "gguf::save_adapter: the layer '" + l.layer +
                                  "' has no name in GGUF files of the architecture " +
                                  files::in_quotes(options.architecture));
  const index_t rank = l.f.A.rows();
  const double factor = l.scaling * double(rank) / alpha;
  const peft::detail::rows_on_host<Be> A(net.backend(), l.f.A, "layer '" + l.layer + "': A");
  const peft::detail::rows_on_host<Be> B(net.backend(), l.f.B, "layer '" + l.layer + "': B");
  const std::vector<T> rows =
      has_rows_in_pairs(options.architecture, l.layer)
          ? reordered(B.values(), T(factor), rows_in_pairs(net.config().head_size))
          : reordered(B.values(), T(factor), rows_in_order{});
  file.add<T>(*weight + std::string(factor_a), {rank, l.f.A.cols()},
              {A.values().data(), std::size_t(A.values().size())}, options.stored);
  file.add<T>(*weight + std::string(factor_b), {l.f.B.rows(), rank}, rows, options.stored);
}

}  // namespace detail

// Net is nn::decoder: it has layers() and config().
template <class Net, class Adapter>
void save_adapter(const fit_report<typename Net::backend_type, Adapter>& report, Net& net,
                  const std::filesystem::path& path, const adapter_options& options) {
  using Be = typename Net::backend_type;
  using params = typename Adapter::template params<Be>;
  static_assert(
      Adapter::has_factors && !has_role<params>(parameter_role::magnitude) &&
          !has_role<params>(parameter_role::bias),
      "preheat: an adapter in a GGUF file is plain LoRA, W + s·B·A; merge(network, report) "
      "and save the weights, or save a PEFT folder");
  tensor_names(options.architecture);  // refuses an unknown one
  require(!report.base_changed,
          "gguf::save_adapter: the run changed the base weights, so the adapter does not belong to "
          "the original base");
  std::vector<peft::detail::layer_to_save<Be>> layers;
  for (const auto& l : report.layers) {
    if (l.attached) {
      layers.push_back(peft::detail::kept_by_peft(net, report.adapter, l));
      require(std::isfinite(l.scaling) && l.scaling != 0,
              "gguf::save_adapter: layer '" + l.name + "': a scaling that is finite and not 0",
              l.scaling, 0);
    }
  }
  require(!layers.empty(), "gguf::save_adapter: no layer has an adapter");
  const float alpha = float(layers.front().scaling * double(layers.front().f.A.rows()));
  writer file;
  file.metadata().set("general.architecture", options.architecture);
  file.metadata().set("general.type", "adapter");
  if (!options.name.empty()) {
    file.metadata().set("general.name", options.name);
  }
  file.metadata().set("adapter.type", "lora");
  file.metadata().set("adapter.lora.alpha", alpha);
  for (const auto& l : layers) {
    detail::add_adapter_layer(net, l, detail::decimal_of(alpha), options, file);
  }
  file.write(path);
}

}  // namespace preheat::gguf
