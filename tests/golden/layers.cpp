// One linear layer with a LoRA adapter: output, gradients, product, merge and unmerge, against
// PEFT's lora.Linear and torch's autograd. In double at the fixtures' tolerance, in float at its
// own; through the adapter itself and through the operator that networks use.
#include <preheat/adapter/lora.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/operators/adapted.hpp>

#include "recorded_layer.hpp"

namespace {

using golden::check_close;
using golden::check_matrix;
using golden::check_tokens;
using golden::dense;
using golden::fixture;
using golden::host;
using golden::index_t;
using golden::layer_rtol;
using golden::recorded_layer;
using preheat::transpose;
using preheat::adapter::lora;

template <class Be>
using params_of = lora::params<Be>;

template <class Be>
void check_gradients(Be& be, const fixture& file, const params_of<Be>& gradient,
                     preheat::const_view_of<Be> dX) {
  constexpr double rtol = layer_rtol<typename Be::scalar>();
  check_close(file, "dX", host(be, dX), file.tokens("dX"), rtol);
  check_close(file, "dA", host(be, gradient.A), file.matrix("dA"), rtol);
  check_close(file, "dB", host(be, gradient.B), file.matrix("dB"), rtol);
}

// W after merge, its output without an adapter, and W after the product is subtracted again.
template <class Be>
void check_merge(Be& be, const fixture& file, recorded_layer<typename Be::scalar>& given,
                 const params_of<Be>& p) {
  const lora adapter;
  preheat::mat<Be> delta = be.zeros(given.W.rows(), given.W.cols());
  adapter.merge(be, p, given.scaling, preheat::view_of<Be>(delta), preheat::view_of<Be>(given.b));
  check_matrix(be, file, "delta", delta);

  adapter.merge(be, p, given.scaling, preheat::view_of<Be>(given.W), preheat::view_of<Be>(given.b));
  check_matrix(be, file, "W_merged", given.W);

  preheat::mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  be.gemm(1, transpose::no, given.W, transpose::no, given.X, 0, Y);
  if (given.b.rows() > 0) {
    be.add_to_cols(given.b, Y);
  }
  check_tokens(be, file, "Y_merged", Y);

  adapter.merge(be, p, -given.scaling, preheat::view_of<Be>(given.W),
                preheat::view_of<Be>(given.b));
  check_matrix(be, file, "W_unmerged", given.W);
  check_matrix(be, file, "W", given.W);
}

// The adapter alone, as an own training loop uses it.
template <class T>
void check_adapter(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  recorded_layer<T> given(file);
  const lora adapter;
  const preheat::frozen_linear<Be> base{given.W, given.b, given.scaling};
  const preheat::layer_input<Be> input{given.X, given.X};
  const params_of<Be> p =
      adapter.start(be, base, {std::move(given.A), std::move(given.B)}, preheat::generator());

  lora::saved_activations<Be> saved_activations;
  preheat::mat<Be> Y = be.zeros(given.W.rows(), given.X.cols());
  adapter.forward(be, p, base, input, preheat::view_of<Be>(Y), saved_activations);
  check_tokens(be, file, "Y", Y);

  params_of<Be> gradient = preheat::zeros_like(be, p);
  preheat::mat<Be> dX = be.zeros(given.X.rows(), given.X.cols());
  const preheat::input_gradient<Be> to_input{dX, dX};
  adapter.backward(be, p, base, input, preheat::const_view_of<Be>(given.dY), gradient, to_input,
                   saved_activations);
  check_gradients<Be>(be, file, gradient, dX);

  check_merge(be, file, given, p);
}

// The same layer as a network of one layer, through the operator that `fit` trains with.
template <class T>
void check_operator(const fixture& file) {
  using Be = preheat::cpu<T>;
  Be be;
  recorded_layer<T> given(file);
  std::vector<preheat::base_layer<Be>> layers;
  layers.push_back({"layer", std::move(given.W), std::move(given.b)});
  preheat::nn::mlp<Be> net(be, std::move(layers));

  preheat::adapted<Be, lora> linear(net);
  linear.attach(0, {std::move(given.A), std::move(given.B)}, given.scaling);
  linear.begin(preheat::pass_kind::training);
  const preheat::view_of<Be> Y = linear.forward(0, given.X);
  check_close(file, "Y of the operator", host(be, Y), file.tokens("Y"), layer_rtol<T>());
  const preheat::view_of<Be> dX = linear.backward(0, given.X, given.dY, true);
  check_gradients<Be>(be, file, linear.layers()[0].gradient, dX);

  linear.merge(0);
  check_matrix(be, file, "W_merged", net.layers()[0].W);
  const preheat::const_view_of<Be> merged = net.forward(given.X, linear);
  check_close(file, "Y after fold", host(be, merged), file.tokens("Y_merged"), layer_rtol<T>());
}

void check_layer(const fixture& file) {
  check_adapter<double>(file);
  check_operator<double>(file);
  check_adapter<float>(file);
  check_operator<float>(file);
}

}  // namespace

PREHEAT_GOLDEN("layers", "plain", check_layer)
PREHEAT_GOLDEN("layers", "rslora", check_layer)
PREHEAT_GOLDEN("layers", "plain_bias", check_layer)
PREHEAT_GOLDEN("layers", "rslora_bias", check_layer)
PREHEAT_GOLDEN("layers", "plain_r1", check_layer)
