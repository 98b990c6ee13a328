// A LoRA adapter in a GGUF file on a decoder, as a run of fit would have left it: what peft::load is
// for PEFT's folders.
//
//   auto net = nn::decoder<Be>(be, gguf::read_decoder(be, "model.gguf"));
//   auto report = gguf::load_adapter("lora.gguf", net);
//   auto linear = attach(net, report);      // the network's operator
//   merge(net, report);                     // or W += s·B·A for good
//
// Errors: io_error, naming the file and the key or tensor (adapter_tensors.hpp): also a layer that the
// network lacks or has in another shape, a tensor of a type that is not unpacked, an entry that is not
// finite. Cost: a pass over the file; a copy of the factors.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "../adapter/lora.hpp"
#include "../train/report.hpp"
#include "adapter_tensors.hpp"

namespace preheat::gguf {

namespace detail {

template <backend Be, class Order>
mat<Be> read_factor(Be& be, const reader& file, const std::string& name, const Order& order) {
  using T = scalar_of<Be>;
  const tensor_info& tensor = file.info(name);
  const index_t rows = tensor.shape[0];
  const index_t cols = tensor.shape[1];
  std::vector<T> host(std::size_t(tensor.count()));
  try {
    read_matrix(name, tensor, view<T>(host.data(), rows, cols), order);
  } catch (const invalid_argument& error) {
    throw io_error(file.source() + ": " + error.what());
  }
  if (!std::all_of(host.begin(), host.end(), [](T x) { return std::isfinite(x); })) {
    throw io_error(file.source() + ": tensor " + files::in_quotes(name) +
                   ": it has a NaN or infinite entry");
  }
  mat<Be> M = be.zeros(rows, cols);
  be.upload(host, M);
  return M;
}

}  // namespace detail

// Net is nn::decoder: it has layers() and config().
template <class Net>
fit_report<typename Net::backend_type, adapter::lora> load_adapter(
    const std::filesystem::path& path, Net& net) {
  using Be = typename Net::backend_type;
  const reader file(path);
  const detail::adapter_header adapter = detail::read_adapter_header(file.header(), file.source());
  fit_report<Be, adapter::lora> report;
  for (const detail::adapter_pair& pair : adapter.pairs) {
    const auto fail = [&](const std::string& problem) {
      throw io_error(file.source() + ": tensors of " + files::in_quotes(pair.weight) + ": " +
                     problem);
    };
    const auto layers = net.layers();
    const auto layer = std::find_if(layers.begin(), layers.end(),
                                    [&](const auto& one) { return one.name == pair.layer; });
    if (layer == layers.end()) {
      fail("the network has no layer " + files::in_quotes(pair.layer));
    }
    if (layer->W.rows() != pair.out || layer->W.cols() != pair.in) {
      fail("they are for a layer " + std::to_string(pair.out) + "×" + std::to_string(pair.in) +
           ", the network's is " + std::to_string(layer->W.rows()) + "×" +
           std::to_string(layer->W.cols()));
    }
    Be& be = net.backend();
    const std::string B = pair.weight + std::string(detail::factor_b);
    typename adapter::lora::template params<Be> parameters;
    parameters.A =
        detail::read_factor(be, file, pair.weight + std::string(detail::factor_a), rows_in_order{});
    parameters.B = detail::has_rows_in_pairs(adapter.architecture, pair.layer)
                       ? detail::read_factor(be, file, B, rows_in_pairs(net.config().head_size))
                       : detail::read_factor(be, file, B, rows_in_order{});
    report.trainable_parameters += trained_size(parameters);
    report.layers.push_back({.index = index_t(layer - layers.begin()),
                             .name = pair.layer,
                             .rank = pair.rank,
                             .scaling = adapter.alpha / double(pair.rank),
                             .attached = true,
                             .parameters = std::move(parameters)});
  }
  std::sort(report.layers.begin(), report.layers.end(),
            [](const auto& a, const auto& b) { return a.index < b.index; });
  return report;
}

}  // namespace preheat::gguf
