// A VeRA adapter as a PEFT folder (peft/vera_names.hpp has its form). PEFT loads it on the same base model
// and computes the same output; training goes on from it in PEFT as it would here.
//
//   const auto report = fit(vera{}, net, batches, {.rank = 256});
//   peft::save(report, net, "adapter", {.base_model = "bert-base-uncased", .module_prefix = "bert."});
//
// What is written of the pair is what its layers use: the first n' columns of A and the first m' rows of
// B, since PEFT makes room for the largest of the modules it adapts.
//
// Errors: those of peft::save, and invalid_argument for layers that do not share one pair, for a scale s
// other than 1 and for .rslora: PEFT's VeRA has no α. Cost: a copy of the pair and the vectors.
#pragma once
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adapter/vera.hpp"
#include "../train/report.hpp"
#include "save_base.hpp"
#include "save_layers.hpp"
#include "vera_names.hpp"

namespace preheat::peft {

namespace detail {

// A tensor of the folder: its values, checked and on the host, and its shape there.
template <backend Be>
struct host_tensor {
  host_tensor(Be& be, std::string tensor_name, const_view_of<Be> M,
              std::vector<index_t> shape_there)
      : name(std::move(tensor_name)), rows(be, M, name), shape(std::move(shape_there)) {}
  std::string name;
  rows_on_host<Be> rows;
  std::vector<index_t> shape;
};

inline nlohmann::ordered_json vera_config(const save_options& o, index_t rank, double d_initial,
                                          std::vector<std::string> modules, bool with_head) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
  };
  nlohmann::ordered_json config = {
      {"peft_type", vera_type},
      {"task_type", or_null(o.task_type)},
      {"inference_mode", true},
      {"base_model_name_or_path", or_null(o.base_model)},
      {"r", rank},
      {"d_initial", d_initial},
      {"vera_dropout", 0.0},
      {"save_projection", true},
      {"projection_prng_key", 0},
      {"bias", "none"},
      {"fan_in_fan_out", o.fan_in_fan_out},
      {"init_weights", true},
      {"modules_to_save", nullptr},
      {"target_modules", std::move(modules)},
  };
  if (with_head) {
    config["modules_to_save"] = {o.head_module};
  }
  return config;
}

// Whether this layer belongs into one folder with `first`.
template <class Layer>
void require_savable_vera(const Layer& l, const Layer& first) {
  const std::string begin = "peft::save: layer '" + l.name + "': ";
  require(l.parameters.shared != nullptr && l.parameters.shared == first.parameters.shared,
          begin + "all layers of a VeRA folder share one pair A, B, and this one has another");
  require(l.scaling == 1, begin + "VeRA has no α in PEFT, so its s is 1", l.scaling, 1);
}

// Everything that the folder's file holds.
template <network Net, class Report>
std::vector<host_tensor<typename Net::backend_type>> vera_tensors(
    Net& net, const Report& report, const head_params<typename Net::backend_type>* head,
    const save_options& o, std::vector<std::string>& modules) {
  using Be = typename Net::backend_type;
  using layer = typename decltype(report.layers)::value_type;
  Be& be = net.backend();
  std::vector<host_tensor<Be>> tensors;
  const layer* first = nullptr;
  layer_shape largest;
  for (const layer& l : report.layers) {
    if (!l.attached) {
      continue;
    }
    first = first == nullptr ? &l : first;
    require_savable_vera(l, *first);
    const auto& W = net.layers()[l.index].W;
    largest = {std::max(largest.out, W.rows()), std::max(largest.in, W.cols())};
    modules.push_back(o.module_prefix + l.name);
    const auto add = [&](std::string_view name, const mat<Be>& vector) {
      tensors.emplace_back(be, vera_tensor(modules.back(), name), vector,
                           std::vector<index_t>{vector.rows()});
    };
    add(lambda_d, l.parameters.d);
    add(lambda_b, l.parameters.b);
  }
  require(first != nullptr, no_layer_to_save);
  const const_view_of<Be> A = first->parameters.A(largest.in);
  const const_view_of<Be> B = first->parameters.B(largest.out);
  tensors.emplace_back(be, std::string(vera_A), A, std::vector<index_t>{A.rows(), A.cols()});
  tensors.emplace_back(be, std::string(vera_B), B, std::vector<index_t>{B.rows(), B.cols()});
  if (head != nullptr) {
    tensors.emplace_back(be, head_tensor(o.head_module, "weight"), head->W,
                         std::vector<index_t>{head->W.rows(), head->W.cols()});
    tensors.emplace_back(be, head_tensor(o.head_module, "bias"), head->b,
                         std::vector<index_t>{head->b.rows()});
  }
  return tensors;
}

}  // namespace detail

template <network Net>
saved_adapter save(const fit_report<typename Net::backend_type, adapter::vera>& report, Net& net,
                   const std::filesystem::path& folder, const save_options& o = {}) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  require(!o.rslora, "peft::save: VeRA has no α, so .rslora says nothing");
  detail::require_base_for(report, o);
  const head_params<Be>* const head = detail::head_to_save(net, o);
  std::vector<std::string> modules;
  const auto tensors = detail::vera_tensors(net, report, head, o, modules);
  const index_t layers = index_t(modules.size());
  const nlohmann::ordered_json config = detail::vera_config(
      o, tensors.front().shape[0], report.adapter.d_initial, std::move(modules), head != nullptr);

  files::atomic_folder to(folder);
  std::optional<safetensors::stream> base;
  if (!o.base.empty()) {
    detail::write_base(net, detail::layers_of(report), o, base);
  }
  detail::write_config(config, to.path() / "adapter_config.json");
  const safetensors::dtype type = o.stored.value_or(safetensors::dtype_of<T>());
  std::vector<safetensors::planned_tensor> planned;
  for (const auto& t : tensors) {
    planned.push_back({t.name, type, t.shape});
  }
  safetensors::stream file(to.path() / "adapter_model.safetensors", planned, {{"format", "pt"}});
  for (const auto& t : tensors) {
    file.write(t.name, safetensors::rows_as_bytes<T>(t.name, t.rows.values(), type));
  }
  file.commit();
  if (base) {
    base->commit();
  }
  to.commit();
  return {layers, false};
}

}  // namespace preheat::peft
