// A PEFT adapter on a network: every module of the adapter is attached to the layer of its name, with
// its factors (and DoRA's magnitude, the bias of B) and its scaling.
//
//   adapted<Be, adapter::lora> linear(net);
//   peft::attach(net, linear, peft::reader("adapter"));
//   net.forward(batch, linear);
//
// A module may have a prefix that the network's layers lack ("bert.encoder.…" is "encoder.…"). Tensors
// of modules_to_save are not read here; peft::load (peft/load.hpp) reads a trained head too.
//
// An embedding has no adapter here (docs/decoders.md says why): its module is refused, unless
// merge_embedding has added it to the table and `embeddings` says so.
//
// Errors: io_error, naming the adapter and the module: no layer of that name, two modules for one layer,
// other shapes, an embedding, a DoRA adapter for an operator without magnitudes or the other way round,
// a bias likewise; an adapter that belongs to a residual base, unless `base` says that the network has
// it; invalid_argument for a NaN or infinite entry.
#pragma once
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../operators/adapted.hpp"
#include "module_tensors.hpp"
#include "reader.hpp"

namespace preheat::peft {

// What the network's weights are to an adapter whose init_lora_weights is "pissa", "olora", …: PEFT takes
// the start's product out of the original base whenever it loads such an adapter, and this library
// cannot.
enum class base_weights { original, residual };

// Whether adapters of embeddings have been added to the tables by merge_embedding.
enum class embedding_adapters { refused, merged };

namespace detail {

// The adapters that a PEFT folder has: A and B, and DoRA's magnitudes or the bias of B.
template <class Params>
concept peft_parameters = requires(Params& p) {
  p.A;
  p.B;
}
&&!has_role<Params>(parameter_role::gate) && !has_role<Params>(parameter_role::weight);

// Calls f(layer's number, module, parameters) for every module of the adapter.
template <class Adapter, network Net, class F>
void for_each_module(Net& net, const reader& adapter, base_weights base,
                     embedding_adapters embeddings, F f) {
  using Be = typename Net::backend_type;
  using params = typename Adapter::template params<Be>;
  static_assert(
      peft_parameters<params>,
      "preheat: a PEFT folder holds adapter::lora, asymmetric, dora, lora_bias or vera; read it "
      "as one of these");
  constexpr bool has_magnitude = has_role<params>(parameter_role::magnitude);
  constexpr bool has_bias = has_role<params>(parameter_role::bias);
  Be& be = net.backend();
  if (adapter.on_residual_base() && base != base_weights::residual) {
    throw io_error(
        adapter.path().string() + ": init_lora_weights is " +
        files::in_quotes(adapter.config().init()) +
        ", so the adapter belongs to the base without its start's product. Make it plain "
        "LoRA first (preheat-adapter convert), or pass base_weights::residual if the network "
        "has that base");
  }
  std::set<index_t> seen;
  for (const adapter_layer& module : adapter.layers()) {
    const auto check = [&](bool holds, const std::string& problem) {
      if (!holds) {
        throw io_error(adapter.path().string() + ": module " + files::in_quotes(module.module) +
                       ": " + problem);
      }
    };
    if (module.embedding && embeddings == embedding_adapters::merged) {
      continue;
    }
    check(
        !module.embedding,
        "it adapts an embedding, and only linear layers have adapters here. Add it to the table "
        "before the network is made (peft::merge_embedding), and pass embedding_adapters::merged");
    const index_t l = layer_of_module(net, module.module);
    check(l >= 0, "the network has no such layer");
    check(seen.insert(l).second, "another module is the same layer of the network");
    const auto& W = net.layers()[l].W;
    check(W.rows() == module.out && W.cols() == module.in,
          "it is for a layer " + std::to_string(module.out) + "×" + std::to_string(module.in) +
              ", the network's is " + std::to_string(W.rows()) + "×" + std::to_string(W.cols()));
    check(module.magnitude.empty() != has_magnitude,
          has_magnitude ? "it has no magnitude vector, so it is not DoRA"
                        : "it has a magnitude vector: read it as adapter::dora");
    check(module.bias.empty() != has_bias,
          has_bias ? "it has no bias of B, so it is not lora_bias"
                   : "it has a bias of B: read it as adapter::lora_bias");
    params p;
    p.A = read_matrix(be, adapter.files(), module.A, module.rank, module.in);
    p.B = read_matrix(be, adapter.files(), module.B, module.out, module.rank);
    if constexpr (has_magnitude) {
      p.magnitude = read_matrix(be, adapter.files(), module.magnitude, module.out, 1);
    }
    if constexpr (has_bias) {
      p.bias = read_matrix(be, adapter.files(), module.bias, module.out, 1);
    }
    f(l, module, std::move(p));
  }
}

}  // namespace detail

// table += s·B·A for the adapter of the embedding `module` ("embed_tokens", "wte"), whose table has one
// column an entry. Errors: io_error: there is no such module, it is no embedding, it has another shape.
template <backend Be>
void merge_embedding(Be& be, const reader& adapter, const std::string& module, mat<Be>& table) {
  for (const adapter_layer& l : adapter.layers()) {
    if (l.module != module && !l.module.ends_with("." + module)) {
      continue;
    }
    if (!l.embedding || l.out != table.rows() || l.in != table.cols()) {
      throw io_error(adapter.path().string() + ": module " + files::in_quotes(l.module) + " is " +
                     (l.embedding ? "an embedding of " : "a linear layer with ") +
                     std::to_string(l.in) + " entries of " + std::to_string(l.out) +
                     " numbers; the table has " + std::to_string(table.cols()) + " of " +
                     std::to_string(table.rows()));
    }
    const mat<Be> A = detail::read_matrix(be, adapter.files(), l.A, l.rank, l.in);
    const mat<Be> B = detail::read_matrix(be, adapter.files(), l.B, l.out, l.rank);
    be.gemm(scalar_of<Be>(l.scaling), transpose::no, B, transpose::no, A, 1, table);
    return;
  }
  throw io_error(adapter.path().string() + ": no module " + files::in_quotes(module));
}

template <network Net, class Adapter>
void attach(Net& net, adapted<typename Net::backend_type, Adapter>& linear, const reader& adapter,
            base_weights base = base_weights::original,
            embedding_adapters embeddings = embedding_adapters::refused) {
  using Be = typename Net::backend_type;
  detail::for_each_module<Adapter>(
      net, adapter, base, embeddings, [&](index_t l, const adapter_layer& module, auto parameters) {
        linear.attach(l, std::move(parameters), scalar_of<Be>(module.scaling));
      });
}

}  // namespace preheat::peft
