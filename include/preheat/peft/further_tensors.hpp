// The tensors of an adapter's file that are no factors: what each of them is, by its name.
//
//   saved        modules_to_save, biases: takes the place of the base's tensor
//                  classifier.weight, query.bias, classifier.modules_to_save.default.weight, x.set_weight
//   base_layer   the base's own matrix, which PEFT saves beside the factors of embeddings and heads
//                  lm_head.base_layer.weight
//   tokens       rows that take the place of the embedding's (trainable_token_indices)
//                  embed_tokens.token_adapter.trainable_tokens_delta
//   difference   is added to the base's tensor, times the adapter's weight
//                  x.diff, x.diff_b, x.w_norm, x.b_norm
//   original     what a module of modules_to_save was before; PEFT saves its bias with bias "all"
//                  classifier.original_module.bias
//   unknown      it is not known where it belongs
#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "../core/error.hpp"
#include "../core/types.hpp"
#include "../files/strict_json.hpp"
#include "../safetensors/tensor_files.hpp"
#include "../safetensors/tensor_values.hpp"
#include "tensor_names.hpp"

namespace preheat::peft {

enum class further_kind { saved, base_layer, tokens, difference, original, unknown };

struct further_tensor {
  further_kind kind = further_kind::saved;
  std::string target;     // the base's tensor, "classifier.weight"
  std::string canonical;  // its name as PEFT saves it, without an adapter's name
};

// Cost: O(length of the name).
inline further_tensor understood(const std::string& name) {
  further_tensor t;
  t.canonical = name;
  t.target = without_module_prefix(name);
  struct ending {
    std::string_view text;
    std::string_view target;
    further_kind kind;
  };
  constexpr std::array<ending, 5> endings = {{{".diff", ".weight", further_kind::difference},
                                              {".diff_b", ".bias", further_kind::difference},
                                              {".w_norm", ".weight", further_kind::difference},
                                              {".b_norm", ".bias", further_kind::difference},
                                              {".set_weight", ".weight", further_kind::saved}}};
  for (const ending& e : endings) {
    if (t.target.ends_with(e.text)) {
      t.kind = e.kind;
      t.target.replace(t.target.size() - e.text.size(), e.text.size(), e.target);
      return t;
    }
  }
  constexpr std::string_view tokens = ".token_adapter.trainable_tokens_delta";
  if (const std::size_t at = t.target.find(tokens); at != std::string::npos) {
    t.kind = further_kind::tokens;
    t.canonical.erase(t.canonical.find(tokens) + tokens.size());
    t.target.replace(at, std::string::npos, ".weight");
    return t;
  }
  constexpr std::string_view inside = ".base_layer.";
  if (const std::size_t at = t.target.rfind(inside); at != std::string::npos) {
    t.target.erase(at, inside.size() - 1);
    t.kind = t.target.ends_with(".weight") ? further_kind::base_layer : further_kind::saved;
    return t;
  }
  constexpr std::string_view wrapped = ".modules_to_save.";
  if (const std::size_t at = t.target.rfind(wrapped); at != std::string::npos) {
    // "x.modules_to_save.default.weight" or "x.modules_to_save.weight"
    const std::size_t last = t.target.rfind('.');
    const std::string end = t.target.substr(last);
    t.target = t.target.substr(0, at) + end;
    t.canonical = name.substr(0, name.rfind(wrapped)) + end;
    return t;
  }
  constexpr std::string_view original = ".original_module.";
  if (const std::size_t at = t.target.rfind(original); at != std::string::npos) {
    t.target.erase(at, original.size() - 1);
    t.kind = further_kind::original;
    return t;
  }
  for (const std::string_view part :
       {".trainable_tokens_original", ".token_adapter.", ".lora_", ".lora.", "_lora.", ".hada_",
        ".lokr_", ".oft_", ".reshape_weight", ".ia3_", ".vera_", ".boft_", ".glora_"}) {
    if (t.target.find(part) != std::string::npos) {
      t.kind = further_kind::unknown;
    }
  }
  if (t.target.ends_with(".alpha") || t.target.ends_with(".dora_scale")) {
    t.kind = further_kind::unknown;  // without factors beside it
  }
  return t;
}

// Throws the error of a tensor that is not understood.
[[noreturn]] inline void refuse_unknown(const safetensors::tensor_files& files,
                                        const std::string& name) {
  const bool lycoris =
      name.find(".hada_") != std::string::npos || name.find(".lokr_") != std::string::npos;
  throw invalid_argument(files.source().string() + ": tensor " + files::in_quotes(name) +
                         (lycoris ? ": LoHa or LoKr beside LoRA is not understood"
                                  : ": it is not understood, and belongs to no pair of factors"));
}

// Refuses a tensor without entries, or with a NaN or infinite one. Cost: a pass over it, a piece at a
// time in memory. Errors: invalid_argument, naming the file and the tensor.
inline void require_sound(const safetensors::tensor_files& files, const std::string& name) {
  const safetensors::tensor_info& tensor = files.info(name);
  const auto fail = [&](const std::string& problem) {
    throw invalid_argument(files.source().string() + ": tensor " + files::in_quotes(name) +
                           problem);
  };
  if (tensor.count() == 0) {
    fail(" is empty, its shape is " + safetensors::shape_text(tensor.shape) +
         " (ZeRO-3 saves such tensors; gather the parameters before saving)");
  }
  if (!safetensors::is_floating(tensor.type)) {
    return;
  }
  constexpr index_t most = 1'000'000;
  std::vector<double> piece(std::size_t(std::min(most, tensor.count())));
  for (index_t first = 0; first < tensor.count(); first += most) {
    const index_t count = std::min(most, tensor.count() - first);
    safetensors::read_rows<double>(name, tensor, first, view<double>(piece.data(), count, 1));
    for (index_t i = 0; i < count; ++i) {
      if (!std::isfinite(piece[std::size_t(i)])) {
        fail(" has a NaN or infinite entry");
      }
    }
  }
  files.release(name);
}

}  // namespace preheat::peft
