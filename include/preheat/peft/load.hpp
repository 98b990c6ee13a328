// A PEFT folder on a network, as a run of fit would have left it: the inverse of peft::save.
//
//   auto report = peft::load("adapter", net);                  // or peft::load<adapter::dora>(…)
//   auto linear = attach(net, report);                         // the network's operator
//   merge(net, report);                                        // or W += s·B·A for good
//
// peft::load<adapter::vera> reads a folder of VeRA (peft/load_vera.hpp).
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
#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../adapter/lora.hpp"
#include "../train/report.hpp"
#include "attach.hpp"
#include "load_vera.hpp"
#include "saved_head.hpp"

namespace preheat::peft {

namespace detail {

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
        stored = read_matrix(be, adapter.files(), name, W.rows(), W.cols());
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

}  // namespace detail

template <class Adapter = adapter::lora, network Net>
requires(!std::same_as<Adapter, adapter::vera>)
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
  std::vector<std::string> head_modules;
  if (adapter.is_folder()) {
    head_modules = detail::modules_to_save(adapter.config().fields());
  }
  report.head_parameters =
      detail::load_head(net, adapter.files(), head_modules, detail::other_tensors(net, adapter));
  return report;
}

}  // namespace preheat::peft
