// What the tensors of an adapter's file are called: which module a name belongs to, and as what.
//
// Raw checkpoints have the adapter's name inside ("lora_A.default.weight"), which PEFT takes out when it
// saves; it is taken out here too.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace preheat::peft {

// How the name of every tensor in a PEFT folder begins; the module's name follows.
inline constexpr std::string_view module_prefix = "base_model.model.";

inline std::string_view without_module_prefix(std::string_view name) {
  if (name.starts_with(module_prefix)) {
    name.remove_prefix(module_prefix.size());
  }
  return name;
}

namespace detail {

enum class tensor_kind { A, B, bias, magnitude, alpha, embedding_A, embedding_B };

// A name ends with `before`, then maybe the adapter's name, then `behind`.
struct name_suffix {
  std::string_view before;
  std::string_view behind;
  tensor_kind kind;
};
inline constexpr std::array<name_suffix, 15> name_suffixes = {{
    {".lora_A", ".weight", tensor_kind::A},
    {".lora_B", ".weight", tensor_kind::B},
    {".lora_B", ".bias", tensor_kind::bias},
    {".lora_magnitude_vector", ".weight", tensor_kind::magnitude},
    {".lora_magnitude_vector", "", tensor_kind::magnitude},
    {".lora_embedding_A", "", tensor_kind::embedding_A},
    {".lora_embedding_B", "", tensor_kind::embedding_B},
    {".lora_down", ".weight", tensor_kind::A},
    {".lora_up", ".weight", tensor_kind::B},
    {".lora.down", ".weight", tensor_kind::A},  // of old diffusers
    {".lora.up", ".weight", tensor_kind::B},
    {".lora_linear_layer.down", ".weight", tensor_kind::A},
    {".lora_linear_layer.up", ".weight", tensor_kind::B},
    {".dora_scale", "", tensor_kind::magnitude},
    {".alpha", "", tensor_kind::alpha},
}};

struct read_name {
  std::string_view module;   // with what PEFT has before it
  std::string_view adapter;  // "default"; empty if the name has none
  tensor_kind kind = tensor_kind::A;
};

// Nothing if the tensor belongs to no layer.
inline std::optional<read_name> read_tensor_name(std::string_view name) {
  for (const name_suffix& suffix : name_suffixes) {
    if (!name.ends_with(suffix.behind)) {
      continue;
    }
    const std::string_view rest = name.substr(0, name.size() - suffix.behind.size());
    if (rest.ends_with(suffix.before) && rest.size() > suffix.before.size()) {
      return read_name{rest.substr(0, rest.size() - suffix.before.size()), {}, suffix.kind};
    }
    const std::size_t dot = rest.rfind('.');
    if (!suffix.before.starts_with(".lora_") || dot == std::string_view::npos ||
        dot + 1 == rest.size()) {
      continue;
    }
    const std::string_view begin = rest.substr(0, dot);
    if (begin.ends_with(suffix.before) && begin.size() > suffix.before.size()) {
      return read_name{begin.substr(0, begin.size() - suffix.before.size()), rest.substr(dot + 1),
                       suffix.kind};
    }
  }
  return std::nullopt;
}

// The name without the adapter's name, as PEFT saves it.
inline std::string without_adapter_name(const std::string& name, const std::string& adapter) {
  const std::string inside = "." + adapter;
  const std::size_t at = adapter.empty() ? std::string::npos : name.rfind(inside + ".");
  if (at != std::string::npos) {
    return name.substr(0, at) + name.substr(at + inside.size());
  }
  return !adapter.empty() && name.ends_with(inside) ? name.substr(0, name.size() - inside.size())
                                                    : name;
}

}  // namespace detail

}  // namespace preheat::peft
