// The settings of peft::save, and its way from the factors of layers to a PEFT folder.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../core/head.hpp"
#include "../linalg/elementwise.hpp"
#include "writer.hpp"

namespace preheat::peft {

struct save_options {
  std::string base_model{};     // base_model_name_or_path; empty: null
  std::string task_type{};      // "SEQ_CLS", …; empty: null
  std::string module_prefix{};  // what comes before the network's layer names: "bert."
  std::string head_module{};    // the module that a network's trained head is: "classifier"
  bool without_head = false;    // the trained head is not saved
  bool rslora = false;          // the config has s = α/√r instead of α/r
  bool fan_in_fan_out = false;  // the base stores its matrices transposed, as GPT-2
  std::optional<safetensors::dtype> stored{};  // of all numbers; empty: the backend's precision

  // A safetensors file for the network's weights after a run that changed them; with the other tensors
  // of the original model (a file or a folder), in its dtypes, if that is given.
  std::filesystem::path base{};
  std::filesystem::path original_base{};
};

// The names of transformers' BertForSequenceClassification, for nn::bert with nn::cls_head.
inline save_options bert_classifier(std::string base_model = {}) {
  return {.base_model = std::move(base_model),
          .task_type = "SEQ_CLS",
          .module_prefix = "bert.",
          .head_module = "classifier"};
}

// For nn::decoder, whose layers have transformers' names. GPT-2 stores its matrices transposed (fan_in_fan_out).
inline save_options causal_lm(std::string base_model = {}, bool gpt2 = false) {
  save_options o{.base_model = std::move(base_model), .task_type = "CAUSAL_LM"};
  o.fan_in_fan_out = gpt2;
  return o;
}

// What peft::save has written.
struct saved_adapter {
  index_t layers = 0;
  bool converted =
      false;  // the adapter is of a kind that PEFT lacks, and is plain LoRA in the folder
};

namespace detail {

inline constexpr const char* no_layer_to_save =
    "peft::save: no layer has an adapter, so there is nothing to save. After a chain, which merges "
    "them "
    "into the base, save that: peft::save_base(report, network, file)";

template <class Be>
struct layer_to_save {
  std::string layer;
  double scaling = 1;
  factors<Be> f;
  mat<Be> magnitude{};  // m×1, or empty
  mat<Be> bias{};       // m×1, or empty
};

inline std::string head_tensor(const std::string& module, const char* name) {
  return std::string(module_prefix) + module + "." + name;
}

// A matrix that the file has row by row: its transpose on the host. Errors: a NaN or infinite entry.
template <backend Be>
class rows_on_host {
 public:
  rows_on_host(Be& be, const_view_of<Be> M, const std::string& name)
      : rows_(M.rows()), cols_(M.cols()) {
    linalg::require_finite(be, M, name);
    values_ = be.download(linalg::transposed(be, M));
  }
  view<const scalar_of<Be>> values() const { return {values_.data(), cols_, rows_}; }

 private:
  index_t rows_;
  index_t cols_;
  std::vector<scalar_of<Be>> values_;
};

template <class Be>
struct rows_of_layer {
  rows_of_layer(Be& be, const layer_to_save<Be>& l)
      : A(be, l.f.A, "layer '" + l.layer + "': A"),
        B(be, l.f.B, "layer '" + l.layer + "': B"),
        magnitude(be, l.magnitude, "layer '" + l.layer + "': the magnitude"),
        bias(be, l.bias, "layer '" + l.layer + "': the bias of B") {}
  rows_on_host<Be> A, B, magnitude, bias;
};

// The layers, magnitudes and the head as a plan; `head` is null where none is saved.
template <backend Be>
adapter_plan plan_of(const std::vector<layer_to_save<Be>>& layers, const head_params<Be>* head,
                     const save_options& o) {
  const safetensors::dtype type = o.stored.value_or(safetensors::dtype_of<scalar_of<Be>>());
  adapter_plan plan;
  std::vector<std::string> modules;
  bool dora = false;
  bool biases = false;
  for (const layer_to_save<Be>& l : layers) {
    const index_t out = l.f.B.rows();
    planned_layer p =
        new_layer(o.module_prefix + l.layer, out, l.f.A.cols(), l.f.A.rows(), l.scaling, type);
    const std::string begin = std::string(module_prefix) + p.layer.module;
    if (l.magnitude.rows() > 0) {
      dora = true;
      p.layer.magnitude = begin + ".lora_magnitude_vector";
      plan.further.push_back({p.layer.magnitude, type, {out}});
    }
    if (l.bias.rows() > 0) {
      biases = true;
      p.layer.bias = begin + ".lora_B.bias";
    }
    modules.push_back(p.layer.module);
    plan.layers.push_back(std::move(p));
  }
  plan.config = config::plain(o.base_model, modules);
  plan.config->set("use_rslora", o.rslora);
  plan.config->set("use_dora", dora);
  plan.config->set("fan_in_fan_out", o.fan_in_fan_out);
  plan.config->set("lora_bias", biases);
  if (!o.task_type.empty()) {
    plan.config->set("task_type", o.task_type);
  }
  if (head != nullptr) {
    plan.config->set("modules_to_save", {o.head_module});
    plan.further.push_back(
        {head_tensor(o.head_module, "weight"), type, {head->W.rows(), head->W.cols()}});
    plan.further.push_back({head_tensor(o.head_module, "bias"), type, {head->b.rows()}});
  }
  set_ranks(plan);
  return plan;
}

// The head that goes into the folder, or null. Errors: a head that nothing says what to do with.
template <network Net>
const head_params<typename Net::backend_type>* head_to_save(Net& net, const save_options& o) {
  if constexpr (trains_head<Net>) {
    require(
        o.without_head || !o.head_module.empty(),
        "peft::save: the network has a trained head. Name the module that it is in the model that "
        "PEFT will adapt, save_options{.head_module = \"classifier\"} (peft::bert_classifier() for "
        "nn::bert with nn::cls_head), or leave it out: .without_head = true");
    return o.without_head ? nullptr : &net.head().parameters;
  } else {
    require(o.head_module.empty(),
            "peft::save: the network has no trained head to be saved as " + o.head_module);
    return nullptr;
  }
}

// Writes the folder. before_commit() is called when everything but the folder's name is on the disk.
template <network Net, class BeforeCommit>
void save_layers(Net& net, const std::vector<layer_to_save<typename Net::backend_type>>& layers,
                 const std::filesystem::path& folder, const save_options& o,
                 BeforeCommit before_commit) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  Be& be = net.backend();
  require(!layers.empty(), no_layer_to_save);
  const head_params<Be>* const head = head_to_save(net, o);
  std::vector<rows_of_layer<Be>> rows;
  for (const layer_to_save<Be>& l : layers) {
    rows.emplace_back(be, l);
  }
  const adapter_plan plan = plan_of<Be>(layers, head, o);
  writer to(folder, plan);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    to.template write<T>(i, rows[i].A.values(), rows[i].B.values(), rows[i].bias.values());
    if (!plan.layers[i].layer.magnitude.empty()) {
      to.template write_further<T>(plan.layers[i].layer.magnitude, rows[i].magnitude.values());
    }
  }
  if (head != nullptr) {
    const rows_on_host<Be> W(be, head->W, "the head's W");
    const rows_on_host<Be> b(be, head->b, "the head's b");
    to.template write_further<T>(head_tensor(o.head_module, "weight"), W.values());
    to.template write_further<T>(head_tensor(o.head_module, "bias"), b.values());
  }
  before_commit();
  to.commit();
}

}  // namespace detail

}  // namespace preheat::peft
