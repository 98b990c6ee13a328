// What the formats of adapters call a module, and how names go from one to the other.
//
//   peft        base_model.model.<module>.lora_A.weight
//   diffusers   transformer.<module>.lora_A.weight, text_encoder.…
//   comfy       diffusion_model.<module>.lora_A.weight, text_encoder.…
//   kohya       lora_unet_<module, "_" for dots>.lora_down.weight; of a text encoder lora_te_…, of several
//               lora_te1_…, lora_te2_…, lora_te3_…
//
// A module of kohya's names has lost its dots: only a base's names tell where they were.
#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <preheat/peft/base_names.hpp>
#include <preheat/peft/further_tensors.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/peft/tensor_names.hpp>

#include "any_adapter.hpp"
#include "commands.hpp"

namespace apps::adapter {

// The part of a pipeline that a module belongs to.
// first_of_several: a text encoder beside others, whose name in kohya's files has a number.
enum class component { model, text, first_of_several, text_2, text_3 };

struct plain_module {
  component part = component::model;
  std::string name;      // without what the format has before it
  bool no_dots = false;  // kohya's
};

inline plain_module plain_name(const std::string& module) {
  struct prefix {
    std::string_view text;
    component part;
    bool no_dots;
  };
  constexpr std::array<prefix, 15> prefixes = {{{"text_encoder_3.", component::text_3, false},
                                                {"text_encoder_2.", component::text_2, false},
                                                {"text_encoder.", component::text, false},
                                                {"model.diffusion_model.", component::model, false},
                                                {"diffusion_model.", component::model, false},
                                                {"transformer.", component::model, false},
                                                {"unet.", component::model, false},
                                                {"lora_unet_", component::model, true},
                                                {"lora_transformer_", component::model, true},
                                                {"lora_te1_", component::first_of_several, true},
                                                {"lora_te2_", component::text_2, true},
                                                {"lora_te3_", component::text_3, true},
                                                {"lora_te_", component::text, true},
                                                {"lycoris_", component::model, true},
                                                {"lora_", component::model, true}}};
  for (const prefix& p : prefixes) {
    // "transformer.h.0" is a module of GPT-2, not of a pipeline.
    const bool gpt2 = p.text == "transformer." &&
                      (module.starts_with("transformer.h.") || module.starts_with("transformer.w"));
    if (module.starts_with(p.text) && !gpt2 &&
        (!p.no_dots || module.find('.') == std::string::npos)) {
      return {p.part, module.substr(p.text.size()), p.no_dots};
    }
  }
  return {component::model, module, false};
}

// How the names of a module's tensors begin.
inline std::string styled_name(convert_options::style style, const plain_module& m) {
  using kind = convert_options::style;
  const auto text_encoder = [&]() -> std::string {
    return m.part == component::text_2   ? "text_encoder_2."
           : m.part == component::text_3 ? "text_encoder_3."
                                         : "text_encoder.";
  };
  const bool text = m.part != component::model;
  switch (style) {
    case kind::kohya: {
      std::string flat = m.name;
      for (char& c : flat) {
        c = c == '.' ? '_' : c;
      }
      const char* const begin = m.part == component::model              ? "lora_unet_"
                                : m.part == component::text             ? "lora_te_"
                                : m.part == component::first_of_several ? "lora_te1_"
                                : m.part == component::text_2           ? "lora_te2_"
                                                                        : "lora_te3_";
      return begin + flat;
    }
    case kind::diffusers:
      return (text ? text_encoder() : "transformer.") + m.name;
    case kind::comfy:
      return (text ? text_encoder() : "diffusion_model.") + m.name;
    default:
      return std::string(peft::module_prefix) + m.name;
  }
}

// A layer under its plain name, as it will be written.
struct styled_layer {
  const any_layer* source = nullptr;
  plain_module module;
  index_t rank = 0;
  std::vector<index_t> kernel;
};

// The name of a copied tensor, as the base calls its module.
inline std::string copied_name(const peft::reader& adapter, const std::string& name,
                               const std::optional<peft::base_names>& names) {
  const peft::further_tensor t = peft::understood(name);
  if (t.kind == peft::further_kind::unknown) {
    peft::refuse_unknown(adapter.files(), name);
  }
  const std::size_t dot = t.target.rfind('.');
  if (!names || dot == std::string::npos) {
    return t.canonical;
  }
  const std::string module = t.target.substr(0, dot);
  const auto found = names->find(module, t.target.substr(dot));
  if (!found) {
    names->fail(module, t.target.substr(dot));
  }
  std::string named = t.canonical;
  const std::size_t at = named.find(module);
  return named.replace(at, module.size(), found->substr(0, found->rfind('.')));
}

}  // namespace apps::adapter
