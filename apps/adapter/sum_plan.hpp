// What a sum of adapters says of itself.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <preheat/peft/passed_through.hpp>
#include <preheat/peft/united_config.hpp>

#include "commands.hpp"

namespace apps::adapter {

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
      for (peft::planned_layer& p : plan.layers) {  // PEFT wants one for every layer
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
