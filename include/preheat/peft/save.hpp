// A trained adapter as a PEFT folder: adapter_config.json and adapter_model.safetensors, which appear
// whole or not at all. PEFT loads it on the same base model and computes the same output.
//
//   const auto report = fit(method<>{}, net, batches, options);
//   peft::save(report, net, "adapter", {.base_model = "bert-base-uncased", .module_prefix = "bert."});
//
// A module's name is the network's layer name behind `module_prefix`: nn::bert's layers are "encoder.…",
// which transformers' BertForSequenceClassification calls "bert.encoder.…". Ranks and scales that differ
// between layers are in rank_pattern and alpha_pattern. What is written for which adapter:
//
//   lora, asymmetric    A and B            dora       and the magnitudes, use_dora
//   lora_bias           A, B and the bias of B, lora_bias
//   any other           A and B of adapter.product, plain LoRA: the same output, but training that goes
//                       on from it trains A and B (gated, xs, prolora); the result says so
//   vera                the pair and the vectors of each layer, peft_type VERA (peft/save_vera.hpp)
//   full, and other adapters without factors: this does not compile; merge them
//
// A run that changed the base (report.base_changed) is refused unless the folder can be right:
//
//   PiSSA, MiLoRA, OLoRA, CorDA, LoRA-GA   save(to_plain_lora(be, report, start), net, folder), of rank
//                                          r + r₀ on the original base (convert/plain_lora.hpp)
//   any                                    .base = "model.safetensors": the changed base is written there,
//                                          and the adapter belongs to it
//   a chain, which leaves no adapter       save_base(report, net, "model.safetensors")
//
// Numbers are stored in the backend's own precision, or as `stored`, rounded to nearest.
//
// Errors: invalid_argument, before anything is written: what is refused above, no layer with an
// adapter, a trained head without a name, a parameter that is NaN or infinite, an adapter whose output is
// not that of its factors; io_error: the folder exists already, or a file cannot be written.
// Cost: a copy of the factors.
#pragma once
#include <concepts>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../adapter/dora.hpp"
#include "../adapter/lora_bias.hpp"
#include "../convert/plain_lora.hpp"
#include "../linalg/random_matrix.hpp"
#include "save_base.hpp"
#include "save_layers.hpp"
#include "save_vera.hpp"

namespace preheat::peft {

namespace detail {

template <class Adapter>
inline constexpr bool is_low_rank = false;
template <bool TrainA, bool TrainB>
inline constexpr bool is_low_rank<adapter::low_rank<TrainA, TrainB>> = true;

// The kinds of adapter that PEFT has: training can go on from the folder as it was.
template <class Adapter>
inline constexpr bool known_to_peft =
    is_low_rank<Adapter> || std::same_as<Adapter, adapter::dora> ||
    std::same_as<Adapter, adapter::lora_bias>;

// Refuses an adapter that computes something else than (W + s·B·A)·x + b, on two random inputs.
template <network Net, class Adapter, class Layer>
void require_same_output(Net& net, const Adapter& adapter, const Layer& l,
                         const factors<typename Net::backend_type>& f) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  Be& be = net.backend();
  const base_layer<Be>& layer = net.layers()[l.index];
  weight_room_of<Be> room;
  const frozen_linear<Be> base{view_in<Be>(be, layer.W, room), layer.b, T(l.scaling)};
  const mat<Be> X = linalg::normal(be, layer.W.cols(), 2, 1, generator(0));
  mat<Be> adapted = be.zeros(layer.W.rows(), 2);
  mat<Be> plain = be.zeros(layer.W.rows(), 2);
  typename Adapter::template saved_activations<Be> buffers;
  adapter.forward(be, l.parameters, base, layer_input<Be>{X, X}, view_of<Be>(adapted), buffers);
  adapter::frozen_forward(be, base, X, plain);
  const mat<Be> AX = linalg::product(be, transpose::no, f.A, transpose::no, X);
  be.gemm(base.scaling, transpose::no, f.B, transpose::no, AX, 1, plain);
  const double size = double(be.max_abs(adapted)) + double(be.max_abs(plain));
  be.apply(linalg::axpby<T>{-1, 1}, adapted, plain);
  constexpr double rounding = 1000 * double(std::numeric_limits<T>::epsilon());
  require(
      double(be.max_abs(adapted)) <= rounding * size,
      "peft::save: layer '" + l.name +
          "': this adapter computes more than (W + s·B·A)·x + b, which a PEFT folder cannot hold; "
          "merge(network, report) and save the weights");
}

// What PEFT keeps of one layer's adapter.
template <network Net, class Adapter, class Layer>
layer_to_save<typename Net::backend_type> kept_by_peft(Net& net, const Adapter& adapter,
                                                       const Layer& l) {
  using Be = typename Net::backend_type;
  Be& be = net.backend();
  layer_to_save<Be> one{l.name, l.scaling, adapter.product(be, l.parameters)};
  if constexpr (std::same_as<Adapter, adapter::dora>) {
    one.magnitude = clone(be, l.parameters.magnitude);
  } else if constexpr (std::same_as<Adapter, adapter::lora_bias>) {
    one.bias = clone(be, l.parameters.bias);
  } else if constexpr (!known_to_peft<Adapter>) {
    require_no_core(one.f);
    require_same_output(net, adapter, l, one.f);
  }
  return one;
}

}  // namespace detail

// Saves what `fit` returned. The network is the one that was trained: its head is saved too.
template <network Net, class Adapter>
saved_adapter save(const fit_report<typename Net::backend_type, Adapter>& report, Net& net,
                   const std::filesystem::path& folder, const save_options& options = {}) {
  using Be = typename Net::backend_type;
  static_assert(Adapter::has_factors,
                "preheat: a PEFT folder holds the factors A and B, and this adapter has none; "
                "merge(network, report) and save the weights");
  detail::require_base_for(report, options);
  std::vector<detail::layer_to_save<Be>> layers;
  for (const auto& l : report.layers) {
    if (l.attached) {
      layers.push_back(detail::kept_by_peft(net, report.adapter, l));
    }
  }
  std::optional<safetensors::stream> base;
  if (!options.base.empty()) {
    detail::write_base(net, detail::layers_of(report), options, base);
  }
  detail::save_layers(net, layers, folder, options, [&] {
    if (base) {
      base->commit();
    }
  });
  return {index_t(layers.size()), !detail::known_to_peft<Adapter>};
}

// Saves only the base after a run that changed it: what a chain, which merges every adapter into it, leaves.
template <network Net, class Adapter>
void save_base(const fit_report<typename Net::backend_type, Adapter>& report, Net& net,
               const std::filesystem::path& file, save_options options = {}) {
  options.base = file;
  std::optional<safetensors::stream> base;
  detail::write_base(net, detail::layers_of(report), options, base);
  base->commit();
}

// Saves plain LoRA adapters of the original base: what to_plain_lora, recompress or weighted_sum
// returned for layers of this network.
template <network Net>
saved_adapter save(const std::vector<plain_lora<typename Net::backend_type>>& adapters, Net& net,
                   const std::filesystem::path& folder, const save_options& options = {}) {
  using Be = typename Net::backend_type;
  require(
      options.base.empty(),
      "peft::save: plain LoRA belongs to the original base; save_options::base is for a report");
  std::vector<detail::layer_to_save<Be>> layers;
  for (const plain_lora<Be>& one : adapters) {
    require(!one.layer.empty(),
            "peft::save: every adapter has its layer's name (plain_lora::layer)");
    require_no_core(one.f);
    layers.push_back(
        {one.layer, one.scaling, {clone(net.backend(), one.f.A), clone(net.backend(), one.f.B)}});
  }
  detail::save_layers(net, layers, folder, options, [] {});
  return {index_t(layers.size()), false};
}

}  // namespace preheat::peft
