// A PEFT adapter on a network: every module of the adapter is attached to the layer of its name, with
// its factors (and DoRA's magnitude) and its scaling.
//
//   adapted<Be, adapter::lora> lin(net);
//   io::attach_peft(net, lin, io::peft_adapter("adapter"));
//   net.forward(batch, lin);
//
// A module may have a prefix that the network's layers lack ("bert.encoder.…" is "encoder.…").
// Errors: io_error, naming the adapter and the module: no layer of that name, other shapes, an
// embedding, a bias of B, a DoRA adapter for an operator without magnitudes or the other way round.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../train/adapted.hpp"
#include "peft_adapter.hpp"

namespace preheat::io {

namespace detail {

// A tensor [rows, cols] of an adapter as rows × cols.
template <backend Be>
mat<Be> peft_matrix(Be& be, const peft_adapter& adapter, const std::string& name, index_t rows,
                    index_t cols) {
  using T = scalar_of<Be>;
  std::vector<T> host(static_cast<std::size_t>(rows * cols));
  read_rows<T>(name, adapter.files().info(name), 0, view<T>(host.data(), cols, rows));
  mat<Be> stored = be.zeros(cols, rows);
  be.upload(host, stored);
  mat<Be> M = be.zeros(rows, cols);
  be.copy(op::trans, stored, M);
  return M;
}

// The number of the network's layer that a module is; -1 if there is none.
template <network Net>
index_t layer_of_module(Net& net, const std::string& module) {
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    const std::string& name = net.layers()[l].name;
    if (module == name || module.ends_with("." + name)) {
      return index_t(l);
    }
  }
  return -1;
}

}  // namespace detail

template <network Net, class Adapter>
void attach_peft(Net& net, adapted<typename Net::backend_type, Adapter>& lin,
                 const peft_adapter& adapter) {
  using Be = typename Net::backend_type;
  using params = typename Adapter::template params<Be>;
  constexpr bool has_magnitude = has_role<params>(role::magnitude);
  Be& be = net.backend();
  for (const peft_layer& module : adapter.layers()) {
    const auto check = [&](bool holds, const std::string& problem) {
      if (!holds) {
        throw io_error(adapter.path().string() + ": module " + detail::in_quotes(module.module) +
                       ": " + problem);
      }
    };
    const index_t l = detail::layer_of_module(net, module.module);
    check(l >= 0, "the network has no such layer");
    const mat<Be>& W = net.layers()[std::size_t(l)].W;
    check(W.rows() == module.out && W.cols() == module.in,
          "it is for a layer " + std::to_string(module.out) + "×" + std::to_string(module.in) +
              ", the network's is " + std::to_string(W.rows()) + "×" + std::to_string(W.cols()));
    check(!module.embedding && module.bias.empty(),
          "only linear layers without a bias of B can be attached");
    check(module.magnitude.empty() != has_magnitude,
          has_magnitude ? "it has no magnitude vector, so it is not DoRA"
                        : "it has a magnitude vector: attach it with adapter::dora");
    params p;
    p.A = detail::peft_matrix<Be>(be, adapter, module.A, module.rank, module.in);
    p.B = detail::peft_matrix<Be>(be, adapter, module.B, module.out, module.rank);
    if constexpr (has_magnitude) {
      p.magnitude = detail::peft_matrix<Be>(be, adapter, module.magnitude, module.out, 1);
    }
    lin.attach(l, std::move(p), scalar_of<Be>(module.scaling));
  }
}

}  // namespace preheat::io
