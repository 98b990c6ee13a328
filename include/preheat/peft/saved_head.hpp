// The trained head that an adapter's folder has: the module of modules_to_save that the network's head
// becomes.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/head.hpp"
#include "module_tensors.hpp"
#include "tensor_names.hpp"

namespace preheat::peft::detail {

// The tensors of a trained head; b is empty if the folder has none.
struct head_tensors {
  std::string W;
  std::string b;
};

// The list in the fields of an adapter_config.json.
inline std::vector<std::string> modules_to_save(const nlohmann::ordered_json& config) {
  std::vector<std::string> names;
  const auto list = config.find("modules_to_save");
  if (list != config.end() && list->is_array()) {
    for (const nlohmann::ordered_json& name : *list) {
      names.push_back(name.is_string() ? name.get<std::string>() : name.dump());
    }
  }
  return names;
}

// The first of these modules that is in the folder, for a network that has a trained head. `left` are the
// names of the tensors that belong to no adapter. Errors: one of them does not belong to the head.
inline std::optional<head_tensors> find_head(const safetensors::tensor_files& from,
                                             const std::vector<std::string>& modules,
                                             std::vector<std::string> left, bool network_has_head) {
  const auto take = [&](const std::string& name) { return std::erase(left, name) > 0; };
  std::optional<head_tensors> head;
  for (const std::string& module : modules) {
    const std::string begin = std::string(module_prefix) + module + ".";
    if (network_has_head && !head && take(begin + "weight")) {
      head = {begin + "weight", take(begin + "bias") ? begin + "bias" : ""};
    }
  }
  if (!left.empty()) {
    throw io_error(
        from.source().string() + ": tensor " + files::in_quotes(left.front()) +
        " has no place in the network: it belongs to no adapted layer, and the network has " +
        (network_has_head ? "one trained head at most" : "no trained head"));
  }
  return head;
}

template <backend Be>
head_params<Be> read_head(Be& be, const safetensors::tensor_files& from, const head_tensors& names,
                          const head_params<Be>& like) {
  const auto read = [&](const std::string& name, const mat<Be>& old, bool matrix) {
    const std::vector<index_t> shape =
        matrix ? std::vector<index_t>{old.rows(), old.cols()} : std::vector<index_t>{old.rows()};
    if (name.empty() || from.info(name).shape != shape) {
      throw io_error(from.source().string() + ": the trained head has a " +
                     (matrix ? "weight " : "bias ") + safetensors::shape_text(shape) +
                     (name.empty() ? ", which is missing"
                                   : ", not " + safetensors::shape_text(from.info(name).shape)));
    }
    return read_matrix(be, from, name, old.rows(), old.cols());
  };
  return {read(names.W, like.W, true), read(names.b, like.b, false)};
}

// Puts the folder's head, if it has one, on the network. `left` as in find_head. Returns the number of
// the head's trained entries.
template <network Net>
index_t load_head(Net& net, const safetensors::tensor_files& from,
                  const std::vector<std::string>& modules, std::vector<std::string> left) {
  const auto head = find_head(from, modules, std::move(left), trains_head<Net>);
  if constexpr (trains_head<Net>) {
    if (head) {
      net.head().parameters = read_head(net.backend(), from, *head, net.head().parameters);
    }
    return trained_size(net.head().parameters);
  }
  return 0;
}

}  // namespace preheat::peft::detail
