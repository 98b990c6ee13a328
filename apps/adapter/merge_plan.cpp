#include "merge_plan.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base.hpp"
#include "orientation.hpp"
#include "outputs.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

using peft::further_kind;
using safetensors::shape_text;

class planner {
 public:
  planner(const base_model& base, const peft::name_map& map)
      : base_(base), names_(base.tensors(), map) {}

  void add(const weighted_adapter& one) {
    adapter_ = one.adapter;
    weight_ = one.weight;
    used_.clear();
    unused_.clear();
    for (const peft::adapter_layer& l : adapter_->layers()) {
      add_layer(l);
    }
    for (const std::string& name : adapter_->others()) {
      add_further(name);
    }
    for (const auto& entry : adapter_->files().tensors()) {  // nothing is passed over
      if (!used_.contains(entry.first) && !unused_.contains(entry.first)) {
        fail(entry.first, "it has no use in a merge");
      }
    }
    plan_.tensors += used_.size();
  }

  merge_plan take() { return std::move(plan_); }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const {
    throw preheat::invalid_argument(adapter_->files().source().string() + ": tensor \"" + name +
                                    "\": " + problem);
  }
  void use(const std::string& name) {
    if (!name.empty() && !used_.insert(name).second) {
      fail(name, "it would be used twice");
    }
  }

  // The name in the merged model of the base's tensor for a module, and its entry in the plan.
  std::pair<const std::string, merged_weight>* find(const std::string& module,
                                                    const std::string& ending) {
    std::string inner = module;  // MultiheadAttention's layers are inside the adapted one
    if (const std::size_t at = inner.find(".base_layer."); at != std::string::npos) {
      inner.erase(at, std::string(".base_layer").size());
    }
    if (auto found = names_.find(inner, ending)) {
      return entry(*found, *found, module + ending);
    }
    if (ending == ".weight" && base_.tensors().contains(module + ".in_proj_weight")) {
      return entry(module + ".in_proj_weight", module + ".in_proj_weight", module + ending);
    }
    const std::string last = module.substr(module.rfind('.') + 1);
    if (ending == ".weight" && last == "lm_head" && base_.tied()) {
      if (const std::string embedding = base_.embedding(); !embedding.empty()) {
        plan_.new_heads.insert(module + ending);
        return entry(module + ending, embedding, module + ending);
      }
    }
    return nullptr;
  }
  std::pair<const std::string, merged_weight>* entry(const std::string& name,
                                                     const std::string& base,
                                                     const std::string& asked) {
    if (name != asked && noted_.insert(asked).second && noted_.size() <= 3) {
      plan_.notes.push_back(asked + " goes into " + name);
    }
    const auto at = plan_.weights.try_emplace(name).first;
    at->second.base = base;
    return &*at;
  }

  void add_layer(const peft::adapter_layer& l) {
    if (l.experts > 0) {
      add_experts(l);
      return;
    }
    refuse_quantized(base_.tensors(), l.module);
    auto* const found = find(l.module, ".weight");
    if (found == nullptr) {
      names_.fail(l.module, ".weight");
    }
    const std::string& name = found->second.base;
    require_weight(base_.tensors(), name);
    if (!l.magnitude.empty() && (weight_ != 1 || !found->second.layers.empty())) {
      throw preheat::invalid_argument(adapter_->path().string() + ": module " + l.module +
                                      " is DoRA: it is merged alone, with the weight 1");
    }
    if (!found->second.layers.empty() && !found->second.layers.front().layer->magnitude.empty()) {
      throw preheat::invalid_argument("module " + l.module + ": one of several adapters is DoRA");
    }
    refuse_quantized(base_.tensors(), name.substr(0, name.rfind('.')));
    for (const merged_layer& other : found->second.layers) {
      if (other.adapter == adapter_) {
        fail(l.A, "module " + other.layer->module + " goes into \"" + name +
                      "\" too; keep one of the two");
      }
    }
    const bool transposed = is_transposed(*adapter_, l, base_, names_, name);
    if (!l.magnitude.empty() && transposed) {
      throw preheat::invalid_argument(
          "module " + l.module +
          ": DoRA on a weight that the base stores transposed is not merged");
    }
    found->second.layers.push_back({adapter_, &l, weight_, transposed});
    use(l.A);
    use(l.B);
    use(l.magnitude);
    use(l.alpha);
    if (!l.bias.empty()) {
      auto* const bias = find(l.module, ".bias");
      if (bias == nullptr) {
        fail(l.bias, "the base has no bias at " + l.module + ".bias to which it could be added");
      }
      require_weight(base_.tensors(), bias->second.base);
      bias->second.biases.push_back({adapter_, &l, weight_, false});
      use(l.bias);
    }
  }

  void add_experts(const peft::adapter_layer& l) {
    const found_experts found = find_experts(*adapter_, l, base_, names_);
    require_weight(base_.tensors(), found.name);
    entry(found.name, found.name, found.name)
        ->second.layers.push_back({adapter_, &l, weight_, found.transposed});
    use(l.A);
    use(l.B);
    use(l.alpha);
    refuse_if(!l.bias.empty() || !l.magnitude.empty(),
              "module " + l.module + ": experts with a bias of B or DoRA are not merged");
  }

  void add_further(const std::string& name) {
    peft::require_sound(adapter_->files(), name);
    const peft::further_tensor t = peft::understood(name);
    if (t.kind == further_kind::original && is_saved(t.target)) {
      plan_.notes.push_back(name + " is not used: modules_to_save has another one in its place");
      unused_.insert(name);
      return;
    }
    if (t.kind == further_kind::unknown) {
      peft::refuse_unknown(adapter_->files(), name);
    }
    if (t.kind == further_kind::original) {
      fail(name, "it is not understood");
    }
    const std::size_t dot = t.target.rfind('.');
    const std::string module = dot == std::string::npos ? t.target : t.target.substr(0, dot);
    const std::string ending = dot == std::string::npos ? "" : t.target.substr(dot);
    auto* const found = find(module, ending);
    if (found == nullptr) {
      names_.fail(module, ending);
    }
    merged_weight& to = found->second;
    require_weight(base_.tensors(), to.base);
    const safetensors::tensor_info& W = base_.tensors().info(to.base);
    const safetensors::tensor_info& tensor = adapter_->files().info(name);
    if (!safetensors::is_floating(tensor.type)) {
      fail(name, "it is stored as " + std::string(safetensors::name_of(tensor.type)) +
                     "; F64, F32, F16 and BF16 are understood");
    }
    const merged_tensor part{&adapter_->files(), name, weight_};
    use(name);
    if (t.kind == further_kind::tokens) {
      add_tokens(module, to, part);
      return;
    }
    if (W.shape != tensor.shape) {
      fail(name, "its shape is " + shape_text(tensor.shape) + ", that of the base's \"" + to.base +
                     "\" is " + shape_text(W.shape));
    }
    if (t.kind == further_kind::difference) {
      to.differences.push_back(part);
      return;
    }
    const bool is_base = t.kind == further_kind::base_layer;
    refuse_weight(name, is_base);
    if (to.saved && !std::ranges::equal(to.saved->from->info(to.saved->name).bytes, tensor.bytes)) {
      fail(name, "another one for \"" + to.base + "\" is in " + to.saved->from->source().string());
    }
    to.saved = part;
    to.saved_is_base = is_base;
  }
  // Whether the adapter has a whole tensor for a tensor of the base.
  bool is_saved(const std::string& target) const {
    const auto& others = adapter_->others();
    return std::any_of(others.begin(), others.end(), [&](const std::string& name) {
      const peft::further_tensor t = peft::understood(name);
      return t.kind == further_kind::saved && t.target == target;
    });
  }
  void refuse_weight(const std::string& name, bool is_base) const {
    if (weight_ != 1 && !is_base) {
      fail(name,
           fmt::format("it is no difference but takes the base's place; it cannot be scaled by "
                       "the weight {:g}",
                       weight_));
    }
  }

  // The rows that trainable_token_indices names: a list for the embedding, or lists by module.
  void add_tokens(const std::string& module, merged_weight& to, const merged_tensor& part) {
    refuse_weight(part.name, false);
    const safetensors::tensor_info& rows = part.from->info(part.name);
    const safetensors::tensor_info& W = base_.tensors().info(to.base);
    const auto shapes =
        shape_text(rows.shape) + ", the base's \"" + to.base + "\" is " + shape_text(W.shape);
    if (rows.shape.size() != 2 || W.shape.size() != 2 || rows.shape[1] != W.shape[1]) {
      fail(part.name, "its shape is " + shapes);
    }
    const nlohmann::ordered_json* const list = token_indices(*adapter_, module);
    if (list == nullptr || !list->is_array() || index_t(list->size()) != rows.shape[0]) {
      fail(part.name,
           "it has " + std::to_string(rows.shape[0]) + " rows, and trainable_token_indices names " +
               (list == nullptr || !list->is_array() ? "none" : std::to_string(list->size())));
    }
    if (to.tokens) {
      fail(part.name, "two adapters train rows of \"" + to.base + "\"");
    }
    for (const auto& row : *list) {
      if (!row.is_number_integer() || row.get<double>() < 0 ||
          row.get<double>() >= double(W.shape[0])) {
        fail(part.name, "trainable_token_indices has " + row.dump() + ", the base's \"" + to.base +
                            "\" the rows 0 to " + std::to_string(W.shape[0] - 1));
      }
      to.token_rows.push_back(row.get<index_t>());
    }
    to.tokens = part;
  }

  const base_model& base_;
  peft::base_names names_;
  const peft::reader* adapter_ = nullptr;
  double weight_ = 1;
  std::set<std::string> used_;
  std::set<std::string> unused_;
  std::set<std::string> noted_;
  merge_plan plan_;
};

}  // namespace

merge_plan plan_merge(const std::vector<weighted_adapter>& adapters, const base_model& base,
                      const peft::name_map& map) {
  planner all(base, map);
  for (const weighted_adapter& one : adapters) {
    refuse_what_cannot_be_merged(*one.adapter);
  }
  for (const weighted_adapter& one : adapters) {
    all.add(one);
  }
  merge_plan plan = all.take();
  if (base.tied()) {
    for (const auto& [name, weight] : plan.weights) {
      if (plan.new_heads.contains(name)) {
        continue;
      }
      if (name == base.embedding()) {
        plan.notes.push_back(name +
                             " changes, and the head that is tied to it with it "
                             "(tie_word_embeddings)");
      } else if (name.ends_with("lm_head.weight")) {
        plan.new_heads.insert(name);
      }
    }
    if (!plan.new_heads.empty()) {
      plan.notes.push_back(
          "tie_word_embeddings is true for the base and must be false for the merged model, whose "
          "head differs from its embedding now");
    }
  }
  return plan;
}

}  // namespace apps::adapter
