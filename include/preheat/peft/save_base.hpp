// The base model after a run that changed it, as a safetensors file: for peft::save.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../core/network.hpp"
#include "../safetensors/copy.hpp"
#include "../safetensors/stream.hpp"
#include "save_layers.hpp"

namespace preheat::peft::detail {

template <class Report>
std::vector<index_t> layers_of(const Report& report) {
  std::vector<index_t> numbers;
  for (const auto& l : report.layers) {
    numbers.push_back(l.index);
  }
  return numbers;
}

// Refuses a report whose adapter does not belong to the original base, unless the changed one is saved.
template <class Report>
void require_base_for(const Report& report, const save_options& o) {
  require(
      !report.base_changed || !o.base.empty(),
      "peft::save: the run changed the base weights, so the adapter does not belong to the "
      "original base. After a residual init (PiSSA, MiLoRA, OLoRA, CorDA, LoRA-GA) save "
      "to_plain_lora(be, report, start), where start = factors_of(run) before the first step; or "
      "say where the changed base goes: save_options{.base = \"model.safetensors\"}");
}

// Writes to `file`, which is not committed yet, the weights and biases of the network's layers under the
// names "<module>.weight" and "<module>.bias"; or, if an original model is given, a copy of that model
// in which the changed layers have the network's weights. Errors: a tensor of another shape in the
// original, or none; NaN and infinite entries; io_error, also if the file exists already.
template <network Net>
void write_base(Net& net, const std::vector<index_t>& changed, const save_options& o,
                std::optional<safetensors::stream>& file) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  Be& be = net.backend();
  files::require_absent(o.base);
  std::optional<safetensors::tensor_files> original;
  if (!o.original_base.empty()) {
    original.emplace(o.original_base);
  }
  // The tensors that come from the network.
  std::map<std::string, rows_on_host<Be>> from_network;
  std::map<std::string, safetensors::planned_tensor> planned;
  const auto add = [&](const std::string& name, const_view_of<Be> M, std::vector<index_t> shape) {
    safetensors::dtype type = safetensors::dtype_of<T>();
    if (original) {
      const safetensors::tensor_info& there = original->info(name);
      type = there.type;
      require(there.shape == shape, original->source().string() + ": tensor " +
                                        files::in_quotes(name) + " has the layer's shape " +
                                        safetensors::shape_text(shape));
    }
    from_network.emplace(name, rows_on_host(be, M, name));
    planned[name] = {name, type, std::move(shape)};
  };
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    const base_layer<Be>& layer = net.layers()[l];
    if (original && std::find(changed.begin(), changed.end(), index_t(l)) == changed.end()) {
      continue;
    }
    const std::string module = o.module_prefix + layer.name;
    if (o.fan_in_fan_out && layer.name != "lm_head") {  // GPT-2's head is not transposed
      add(module + ".weight", linalg::transposed(be, const_view_of<Be>(layer.W)),
          {layer.W.cols(), layer.W.rows()});
    } else {
      add(module + ".weight", layer.W, {layer.W.rows(), layer.W.cols()});
    }
    if (layer.b.rows() > 0) {
      add(module + ".bias", layer.b, {layer.b.rows()});
    }
  }
  std::map<std::string, std::string> metadata;
  std::vector<safetensors::planned_tensor> tensors;
  if (original) {
    metadata = original->metadata();
    for (const safetensors::planned_tensor& t : safetensors::planned_tensors(*original)) {
      planned.try_emplace(t.name, t);
    }
  }
  metadata.try_emplace("format", "pt");
  for (const auto& [name, t] : planned) {
    tensors.push_back(t);
  }
  file.emplace(o.base, tensors, metadata);
  for (const auto& [name, t] : planned) {
    if (const auto ours = from_network.find(name); ours != from_network.end()) {
      file->write(name, safetensors::rows_as_bytes<T>(name, ours->second.values(), t.type));
    } else {
      safetensors::copy_tensor(*original, name, *file);
    }
  }
}

}  // namespace preheat::peft::detail
