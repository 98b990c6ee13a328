// What a sum of adapters asks for, and what it says of itself.
#pragma once
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <preheat/peft/passed_through.hpp>
#include <preheat/peft/united_config.hpp>

#include "commands.hpp"

namespace apps::adapter {

inline bool prunes(reduce_options::kind type) {
  using kind = reduce_options::kind;
  return type != kind::svd && type != kind::linear && type != kind::cat;
}

// Errors: invalid_argument for options that do not go together.
inline void check_sum(const reduce_options& o) {
  using kind = reduce_options::kind;
  const std::string name = o.command + ": ";
  refuse_if(o.rank < 0, name + fmt::format("--rank is {}; a rank is 1 or more", o.rank));
  refuse_if(o.energy < 0 || o.energy > 1,
            name + fmt::format("--energy is {:g}; a part is between 0 and 1", o.energy));
  refuse_if(o.ratio != 0 && o.ratio < 1,
            name + fmt::format("--ratio is {:g}; σ₁ is 1 time σ_i or more", o.ratio));
  refuse_if(o.energy != 0 && o.ratio != 0, name + "both --energy and --ratio; give one");
  refuse_if(o.remove_intruders == o.base.empty(),
            name + (o.base.empty() ? "--remove-intruders needs the --base that they are foreign to"
                                   : "--base is for --remove-intruders"));
  refuse_if(
      o.remove_intruders && (o.adapters.size() != 1 || !o.weights.empty() || !o.layers.empty() ||
                             o.type != kind::svd || o.energy > 0 || o.ratio > 0),
      name + "--remove-intruders is for one adapter, and with it stands --rank alone");
  refuse_if(
      !(o.intruder_scale >= 0 && o.intruder_scale <= 1),
      name + fmt::format("--intruder-scale is {:g}; it is between 0 and 1", o.intruder_scale));
  const bool criterion = o.rank > 0 || o.energy > 0 || o.ratio > 0;
  refuse_if(!criterion && o.type == kind::svd && !o.remove_intruders,
            name + "no rank; --rank, --energy or --ratio is needed");
  refuse_if(criterion && o.type != kind::svd,
            name + "only svd chooses a rank; --rank, --energy and --ratio are for it");
  refuse_if(prunes(o.type) && !(o.density > 0 && o.density <= 1),
            name + fmt::format("this type needs --density, a part above 0 and at most 1, not {:g}",
                               o.density));
  refuse_if(!prunes(o.type) && o.density != 0,
            name + "--density is for ties, dare_ties, dare_linear and magnitude_prune");
  refuse_if(!o.weights.empty() && o.weights.size() != o.adapters.size(),
            name + fmt::format("{} weights for {} adapters; one for each is needed",
                               o.weights.size(), o.adapters.size()));
  for (const double w : o.weights) {
    refuse_if(!std::isfinite(w), name + "a weight is not finite");
  }
  check_outputs(o);
}

// Adapters of different base models are mostly added up by mistake.
inline void note_other_base(reporter& report, const peft::reader& a, const peft::reader& b) {
  if (a.is_folder() && b.is_folder()) {
    const auto base_of = [](const peft::reader& adapter) {
      return peft::detail::field_of(adapter.config(), "base_model_name_or_path").dump();
    };
    if (base_of(a) != base_of(b)) {
      report.line("note", fmt::format("the adapters name different base models: {} and {}",
                                      base_of(a), base_of(b)));
    }
  }
}

// Two adapters without a common module whose names begin differently, "model.layers.0.q_proj" and
// "model.language_model.layers.0.q_proj": a model has one of them at most.
inline void note_other_names(reporter& report, const peft::reader& a, const peft::reader& b) {
  for (const peft::adapter_layer& l : a.layers()) {
    if (b.find(l.module) != nullptr) {
      return;
    }
  }
  // From the number of the block on.
  const auto place = [](const std::string& module) {
    const std::string type = layer_type(module);
    const std::size_t before = module.size() - type.size();
    const std::size_t number =
        before < 2 ? std::string::npos : module.find_last_of("._", before - 2);
    return number == std::string::npos ? std::string() : module.substr(number);
  };
  std::map<std::string, std::string> places;
  for (const peft::adapter_layer& l : a.layers()) {
    places.emplace(place(l.module), l.module);
  }
  for (const peft::adapter_layer& l : b.layers()) {
    const auto same = places.find(place(l.module));
    if (same != places.end() && !same->first.empty()) {
      report.line("note", "the adapters have no module in common, although names are alike: " +
                              same->second + " and " + l.module +
                              "; a model has mostly one of them");
      return;
    }
  }
}

// What the sum says of itself: the config, the tensors beside the factors, biases.
inline void plan_sum(const reduce_options& o, const std::vector<peft::reader>& adapters,
                     peft::adapter_plan& plan, const peft::passed_tensors& passed) {
  plan.copied = passed.copied;
  plan.stored = o.stored;
  for (const peft::summed_tensor& sum : passed.sums) {
    const safetensors::tensor_info& first = sum.parts.front().from->info(sum.name);
    plan.further.push_back({sum.name, o.stored.value_or(first.type), first.shape});
  }
  if (!plan.config) {
    plan.new_modules = adapters.size() > 1 || !o.layers.empty();
    return;
  }
  if (adapters.size() > 1 || !o.layers.empty()) {
    std::vector<std::string> modules;
    for (const peft::planned_layer& p : plan.layers) {
      modules.push_back(p.layer.module);
    }
    plan.config = peft::united_config(adapters, std::move(modules));
    if (plan.config->has("lora_bias")) {
      for (peft::planned_layer& p : plan.layers) {  // PEFT needs one for every layer
        if (p.layer.bias.empty() && !p.layer.embedding) {
          p.layer.bias = std::string(peft::module_prefix) + p.layer.module + ".lora_B.bias";
        }
      }
    }
  }
  plan.config->set("use_rslora", false);  // s = 1 is α/r; with √r it would be √r too much
  plan.single_file = as_single_file(o);
}

}  // namespace apps::adapter
