// Which tensor of a base model an adapter's module belongs to, when their names differ:
//
//   by a map          OLD=NEW replaces OLD in the adapter's names, where it is a part between dots
//   by a wrapper      diffusion_model.x, transformer.x, unet.x, model.x   <->   x
//   by kohya's names  lora_unet_blocks_0_attn_q -> blocks.0.attn.q: the dots became "_", and just one
//                     module of the base has this name then
//
// A name that the base has is never changed. Errors: invalid_argument, with names that are similar and
// the --map that would fit. Cost: building O(total length of the names), a search O(length).
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../safetensors/tensor_files.hpp"

namespace preheat::peft {

// Replacements in the names of modules.
class name_map {
 public:
  name_map() = default;
  // Each "OLD=NEW". Errors: invalid_argument for one without "=" or OLD.
  explicit name_map(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      const std::size_t sign = text.find('=');
      if (sign == std::string::npos || sign == 0) {
        throw invalid_argument(
            "a map is OLD=NEW, as model.layers=model.language_model.layers, not " +
            files::in_quotes(text));
      }
      pairs_.emplace_back(text.substr(0, sign), text.substr(sign + 1));
    }
  }
  bool empty() const { return pairs_.empty(); }

  // The name, with the first map that fits carried out.
  std::string operator()(const std::string& name) const {
    for (const auto& [from, to] : pairs_) {
      for (std::size_t at = name.find(from); at != std::string::npos;
           at = name.find(from, at + 1)) {
        const std::size_t end = at + from.size();
        const bool begins = at == 0 || name[at - 1] == '.' || from.front() == '.';
        const bool ends = end == name.size() || name[end] == '.' || from.back() == '.';
        if (begins && ends) {
          std::string mapped = name.substr(0, at) + to + name.substr(end);
          if (to.empty() && mapped.starts_with('.')) {
            mapped.erase(0, 1);
          }
          return mapped;
        }
      }
    }
    return name;
  }

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

class base_names {
 public:
  base_names(const safetensors::tensor_files& base, name_map map)
      : base_(base), map_(std::move(map)) {
    for (const auto& entry : base.tensors()) {
      const std::string_view name = entry.first;
      const std::size_t dot = name.rfind('.');
      if (dot == std::string_view::npos) {
        continue;
      }
      const std::string module(name.substr(0, dot));
      for (std::string_view inner = module; !inner.empty();) {
        std::string flat(inner);
        std::replace(flat.begin(), flat.end(), '.', '_');
        const auto [known, is_new] = flat_.try_emplace(flat, module);
        if (!is_new && known->second != module) {
          known->second.clear();  // of two modules
        }
        const std::string_view before = wrapper_of(inner);
        inner.remove_prefix(before.empty() ? inner.size() : before.size());
      }
    }
  }

  // The base's tensor for `<module><ending>`, ending ".weight" or ".bias"; nothing if there is none.
  std::optional<std::string> find(const std::string& module, const std::string& ending) const {
    const std::string mapped = map_(module);
    if (base_.contains(mapped + ending)) {
      return mapped + ending;
    }
    std::vector<std::string> found;
    const auto look = [&](const std::string& name) {
      if (base_.contains(name + ending) &&
          std::find(found.begin(), found.end(), name) == found.end()) {
        found.push_back(name);
      }
    };
    const std::string_view before = wrapper_of(mapped);
    const std::string inner = mapped.substr(before.size());
    look(inner);
    for (const std::string_view wrapper : wrappers) {
      look(std::string(wrapper) + mapped);
      look(std::string(wrapper) + inner);
    }
    if (found.size() == 1) {
      return found.front() + ending;
    }
    for (const std::string_view prefix : kohya_prefixes) {
      if (!mapped.starts_with(prefix) || mapped.find('.') != std::string::npos) {
        continue;
      }
      const auto flat = flat_.find(mapped.substr(prefix.size()));
      if (flat != flat_.end() && !flat->second.empty() && base_.contains(flat->second + ending)) {
        return flat->second + ending;
      }
    }
    return std::nullopt;
  }

  // Throws the error of a module that the base lacks.
  [[noreturn]] void fail(const std::string& module, const std::string& ending) const {
    const std::string name = map_(module) + ending;
    throw invalid_argument(base_.source().string() + ": no tensor " + files::in_quotes(name) +
                           safetensors::detail::similar_names(base_.tensors(), name) +
                           suggestion(name));
  }

 private:
  static constexpr std::array<std::string_view, 6> wrappers = {{"model.diffusion_model.",
                                                                "diffusion_model.", "transformer.",
                                                                "unet.", "model.", "base_model."}};
  static constexpr std::array<std::string_view, 8> kohya_prefixes = {
      {"lora_unet_", "lora_transformer_", "lora_te1_", "lora_te2_", "lora_te3_", "lora_te_",
       "lycoris_", "lora_"}};

  static std::string_view wrapper_of(std::string_view name) {
    for (const std::string_view wrapper : wrappers) {
      if (name.starts_with(wrapper)) {
        return wrapper;
      }
    }
    return {};
  }

  // "; try --map OLD=NEW" for the tensor of the base that has the longest end in common, whole parts.
  std::string suggestion(const std::string& name) const {
    std::size_t most = 0;
    std::string best;
    for (const auto& entry : base_.tensors()) {
      const std::string& other = entry.first;
      std::size_t same = 0;
      for (std::size_t i = 1; i <= std::min(name.size(), other.size()) &&
                              name[name.size() - i] == other[other.size() - i];
           ++i) {
        const bool part = i == name.size() || i == other.size() || name[name.size() - i] == '.';
        same = part ? i : same;
      }
      const std::string old = name.substr(0, name.size() - same);
      const std::string mapped = other.substr(0, other.size() - same);
      if (same > most && !old.empty() && other != name) {
        most = same;
        best = "; try --map " + without_dot(old) + "=" + without_dot(mapped);
      }
    }
    constexpr std::string_view ending = ".weight";
    return most > ending.size() ? best : "";
  }
  static std::string without_dot(std::string text) {
    while (text.ends_with('.')) {
      text.pop_back();
    }
    return text;
  }

  const safetensors::tensor_files& base_;
  name_map map_;
  std::map<std::string, std::string, std::less<>>
      flat_;  // modules by their names with "_" for dots
};

}  // namespace preheat::peft
