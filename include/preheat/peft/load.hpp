// A PEFT folder on a network, as a run of fit would have left it: the inverse of peft::save.
//
//   auto report = peft::load("adapter", net);                  // or peft::load<adapter::dora>(…)
//   auto linear = attach(net, report);                         // the network's operator
//   merge(net, report);                                        // or W += s·B·A for good
//
// Modules are found as in peft/attach.hpp, with its errors. If the network has a trained head and the
// folder has a module of modules_to_save, that module becomes the head. The steps and losses of the
// report are empty.
//
// When PEFT adapts an embedding or a head, it also writes the base's own matrix into the folder
// ("….base_layer.weight"). That of a layer must be the network's; that of an embedding is passed over.
//
// Errors: also io_error for a tensor of the folder that has no place in the network, a head of other
// shapes, a base's matrix that is not the network's. The network is then as it was. Cost: a pass over the file.
#pragma once
#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../adapter/lora.hpp"
#include "../core/head.hpp"
#include "../train/report.hpp"
#include "attach.hpp"

namespace preheat::peft {

namespace detail {

// The tensors of a trained head; b is empty if the folder has none.
struct head_tensors {
  std::string W;
  std::string b;
};

inline std::vector<std::string> modules_to_save(const reader& adapter) {
  std::vector<std::string> names;
  if (adapter.is_folder()) {
    const auto& fields = adapter.config().fields();
    const auto list = fields.find("modules_to_save");
    if (list != fields.end() && list->is_array()) {
      for (const nlohmann::ordered_json& name : *list) {
        names.push_back(name.is_string() ? name.get<std::string>() : name.dump());
      }
    }
  }
  return names;
}

// The tensors that belong to no adapted layer, but for copies of the base's matrices. Errors: such a copy
// of a layer's matrix that differs from the network's.
template <network Net>
std::vector<std::string> other_tensors(Net& net, const reader& adapter) {
  using Be = typename Net::backend_type;
  constexpr std::string_view suffix = ".base_layer.weight";
  Be& be = net.backend();
  std::vector<std::string> left;
  for (const std::string& name : adapter.others()) {
    const bool copy = name.starts_with(module_prefix) && name.ends_with(suffix);
    const std::string module =
        copy ? name.substr(module_prefix.size(), name.size() - module_prefix.size() - suffix.size())
             : "";
    const adapter_layer* const adapted = adapter.find(module);
    if (adapted == nullptr) {
      left.push_back(name);
    } else if (!adapted->embedding) {
      const auto& W = net.layers()[layer_of_module(net, module)].W;
      const std::vector<index_t> shape{W.rows(), W.cols()};
      mat<Be> stored;
      const bool fits = adapter.files().info(name).shape == shape;
      if (fits) {
        stored = read_matrix(be, adapter, name, W.rows(), W.cols());
        be.apply(linalg::axpby<scalar_of<Be>>{-1, 1}, stored, W);
      }
      if (!fits || be.max_abs(stored) != 0) {
        throw io_error(adapter.files().source().string() + ": tensor " + files::in_quotes(name) +
                       " is not the matrix of the network's layer " + files::in_quotes(module));
      }
    }
  }
  return left;
}

// The first module of modules_to_save that is in the folder, for a network that has a trained head.
// Errors: a tensor of `left` that does not belong to it.
inline std::optional<head_tensors> find_head(const reader& adapter, std::vector<std::string> left,
                                             bool network_has_head) {
  const auto take = [&](const std::string& name) { return std::erase(left, name) > 0; };
  std::optional<head_tensors> head;
  for (const std::string& module : modules_to_save(adapter)) {
    const std::string begin = std::string(module_prefix) + module + ".";
    if (network_has_head && !head && take(begin + "weight")) {
      head = {begin + "weight", take(begin + "bias") ? begin + "bias" : ""};
    }
  }
  if (!left.empty()) {
    throw io_error(
        adapter.files().source().string() + ": tensor " + files::in_quotes(left.front()) +
        " has no place in the network: it belongs to no adapted layer, and the network has " +
        (network_has_head ? "one trained head at most" : "no trained head"));
  }
  return head;
}

template <backend Be>
head_params<Be> read_head(Be& be, const reader& adapter, const head_tensors& names,
                          const head_params<Be>& like) {
  const auto read = [&](const std::string& name, const mat<Be>& old, bool matrix) {
    const std::vector<index_t> shape =
        matrix ? std::vector<index_t>{old.rows(), old.cols()} : std::vector<index_t>{old.rows()};
    if (name.empty() || adapter.files().info(name).shape != shape) {
      throw io_error(adapter.files().source().string() + ": the trained head has a " +
                     (matrix ? "weight " : "bias ") + safetensors::shape_text(shape) +
                     (name.empty()
                          ? ", which is missing"
                          : ", not " + safetensors::shape_text(adapter.files().info(name).shape)));
    }
    return read_matrix(be, adapter, name, old.rows(), old.cols());
  };
  return {read(names.W, like.W, true), read(names.b, like.b, false)};
}

}  // namespace detail

template <class Adapter = adapter::lora, network Net>
fit_report<typename Net::backend_type, Adapter> load(
    const std::filesystem::path& folder, Net& net, base_weights base = base_weights::original,
    embedding_adapters embeddings = embedding_adapters::refused) {
  using Be = typename Net::backend_type;
  const reader adapter(folder);
  fit_report<Be, Adapter> report;
  detail::for_each_module<Adapter>(net, adapter, base, embeddings,
                                   [&](index_t l, const adapter_layer& module, auto parameters) {
                                     report.trainable_parameters += trained_size(parameters);
                                     report.layers.push_back({.index = l,
                                                              .name = net.layers()[l].name,
                                                              .rank = module.rank,
                                                              .scaling = module.scaling,
                                                              .attached = true,
                                                              .parameters = std::move(parameters)});
                                   });
  std::sort(report.layers.begin(), report.layers.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  const auto head =
      detail::find_head(adapter, detail::other_tensors(net, adapter), trains_head<Net>);
  if constexpr (trains_head<Net>) {
    if (head) {
      net.head().parameters =
          detail::read_head(net.backend(), adapter, *head, net.head().parameters);
    }
    report.head_parameters = trained_size(net.head().parameters);
  }
  return report;
}

}  // namespace preheat::peft
