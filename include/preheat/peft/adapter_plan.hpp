// What an adapter to be written consists of: a PEFT folder (adapter_config.json and
// adapter_model.safetensors) or a kohya file. peft/writer.hpp writes it.
//
// The plan has every layer's names, shapes and dtypes, so that the header of the file is known before
// the first number is. It is made anew (plan.config = config::plain(…), new_layer), or like an
// adapter that was read (plan_like, planned_like).
#pragma once
#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../safetensors/layout.hpp"
#include "reader.hpp"

namespace preheat::peft {

// One layer to be written: its names, its rank and its s = layer.scaling.
struct planned_layer {
  adapter_layer layer;
  std::vector<index_t> A_shape;
  std::vector<index_t> B_shape;
  safetensors::dtype A_type = safetensors::dtype::F32;
  safetensors::dtype B_type = safetensors::dtype::F32;
};

// The α that a kohya file says for the layer: s = α/r.
inline double kohya_alpha(const planned_layer& p) {
  return alpha_of(scaling_rule::form::over_rank, p.layer.scaling, p.layer.rank);
}

// A tensor that goes from one file to the other as it is, maybe under another name.
struct copied_tensor {
  const safetensors::tensor_files* from = nullptr;
  std::string name;
  std::string as;
};

struct adapter_plan {
  std::optional<peft::config> config;  // none: a kohya file
  std::vector<planned_layer> layers;
  std::vector<safetensors::planned_tensor> further;  // magnitudes, tensors of modules_to_save
  std::vector<copied_tensor> copied;
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  std::vector<settings_part> header;         // what the metadata say about ranks and scales
  bool new_modules = false;                  // other ones than the header may say
  std::optional<safetensors::dtype> stored;  // of copied tensors with a fraction; empty: their own
  bool single_file = false;  // although there is a config, which goes into the metadata then
};

// A layer of a new PEFT folder, out×in, stored as `type`.
inline planned_layer new_layer(const std::string& module, index_t out, index_t in, index_t rank,
                               double scaling, safetensors::dtype type) {
  const std::string begin = std::string(module_prefix) + module;
  planned_layer p;
  p.layer.module = module;
  p.layer.A = begin + ".lora_A.weight";
  p.layer.B = begin + ".lora_B.weight";
  p.layer.out = out;
  p.layer.in = in;
  p.layer.rank = rank;
  p.layer.scaling = scaling;
  p.A_shape = {rank, in};
  p.B_shape = {out, rank};
  p.A_type = p.B_type = type;
  return p;
}

// An empty plan in the layout of an adapter that was read.
inline adapter_plan plan_like(const reader& adapter) {
  adapter_plan plan;
  if (adapter.is_folder()) {
    plan.config = adapter.config();
  } else {
    plan.metadata = adapter.files().metadata();
    plan.header = adapter.settings();
  }
  return plan;
}

// The layer as a source has it, at another rank and scale, stored as `type` if that is given.
inline planned_layer planned_like(const reader& adapter, const adapter_layer& layer, index_t rank,
                                  double scaling, std::optional<safetensors::dtype> type) {
  const safetensors::tensor_info& A = adapter.files().info(layer.A);
  const safetensors::tensor_info& B = adapter.files().info(layer.B);
  planned_layer p{layer, A.shape, B.shape, type.value_or(A.type), type.value_or(B.type)};
  for (std::string* const name : {&p.layer.A, &p.layer.B, &p.layer.bias, &p.layer.magnitude}) {
    *name = detail::without_adapter_name(*name, layer.adapter);
  }
  p.layer.rank = rank;
  p.layer.scaling = scaling;
  p.A_shape[0] = rank;
  p.B_shape[1] = rank;
  return p;
}

// Writes the layers' ranks and scales into the plan's config, or into the metadata and the alphas of a
// single file.
inline void set_ranks(adapter_plan& plan) {
  const bool alphas_in_file = !plan.config || plan.single_file;
  if (plan.config && plan.single_file) {
    plan.config->set("use_rslora", false);  // an .alpha stands for α/r everywhere
  }
  std::vector<module_rank> modules;
  for (planned_layer& p : plan.layers) {
    const double alpha =
        plan.config ? plan.config->alpha_for(p.layer.scaling, p.layer.rank) : kohya_alpha(p);
    modules.push_back({p.layer.module, p.layer.rank, alpha});
  }
  if (plan.config) {
    plan.config->set_ranks(modules);
    plan.config->set("init_lora_weights", true);  // with anything else PEFT starts anew on loading
  } else {
    plan.metadata = with_ranks(std::move(plan.metadata), plan.header, modules, plan.new_modules);
  }
  if (plan.config && plan.single_file) {
    plan.metadata["lora_adapter_metadata"] = plan.config->fields().dump();
    plan.config.reset();
  }
  for (planned_layer& p : plan.layers) {
    p.layer.alpha.clear();  // of a folder: its config says it
    if (alphas_in_file) {
      const auto name = detail::read_tensor_name(p.layer.A);
      p.layer.alpha =
          std::string(name ? name->module : std::string_view(p.layer.module)) + ".alpha";
    }
  }
}

// What a copied tensor is stored as.
inline safetensors::dtype stored_type(const adapter_plan& plan, const copied_tensor& c) {
  const safetensors::dtype own = c.from->info(c.name).type;
  return safetensors::is_floating(own) ? plan.stored.value_or(own) : own;
}

// All tensors of the file.
inline std::vector<safetensors::planned_tensor> tensors_of(const adapter_plan& plan) {
  std::vector<safetensors::planned_tensor> tensors;
  for (const planned_layer& p : plan.layers) {
    tensors.push_back({p.layer.A, p.A_type, p.A_shape});
    tensors.push_back({p.layer.B, p.B_type, p.B_shape});
    if (!p.layer.bias.empty()) {
      tensors.push_back({p.layer.bias, p.B_type, {p.layer.out}});
    }
    if (!p.layer.alpha.empty()) {
      tensors.push_back({p.layer.alpha, safetensors::dtype::F32, {}});
    }
  }
  tensors.insert(tensors.end(), plan.further.begin(), plan.further.end());
  for (const copied_tensor& c : plan.copied) {
    tensors.push_back({c.as, stored_type(plan, c), c.from->info(c.name).shape});
  }
  return tensors;
}

inline std::size_t bytes_of(const adapter_plan& plan) {
  std::size_t bytes = 0;
  for (const safetensors::planned_tensor& t : tensors_of(plan)) {
    bytes += safetensors::detail::checked_byte_count(t.name, t.type, t.shape);
  }
  return bytes;
}

}  // namespace preheat::peft
