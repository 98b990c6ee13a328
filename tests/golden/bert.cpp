// A tiny BERT classifier with adapters that PEFT saved, against transformers and PEFT: hidden states
// layer by layer, attention, logits with and without the adapter and merged, loss, and the gradient
// of every tensor of the adapter and of the classifier.
#include <preheat/adapter/dora.hpp>
#include <preheat/huggingface/bert.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/peft/attach.hpp>

#include "encoder_fixture.hpp"

namespace {

using namespace golden;
using namespace preheat;

template <class T>
using classifier = nn::bert<cpu<T>, nn::cls_head>;

template <class T>
classifier<T> base_model(cpu<T>& be, const std::string& model) {
  auto weights = huggingface::read_bert<cpu<T>>(be, path_of("bert/" + model + "/base"));
  REQUIRE(weights.classifier.has_value());
  auto head = std::move(*weights.classifier);
  return {be, std::move(weights), std::move(head)};
}

// The adapter's own classifier, which PEFT saves beside the factors.
template <class T>
void load_classifier(cpu<T>& be, const peft::reader& adapter, head_params<cpu<T>>& head) {
  const std::string name = "base_model.model.classifier";
  head.W = peft::detail::read_matrix<cpu<T>>(be, adapter.files(), name + ".weight", head.W.rows(),
                                             head.W.cols());
  head.b = peft::detail::read_matrix<cpu<T>>(be, adapter.files(), name + ".bias", head.b.rows(), 1);
}

template <class T>
void check_states(const fixture& grads, classifier<T>& net, const token_batch<T>& batch) {
  cpu<T>& be = net.backend();
  const auto states = net.hidden_states();
  REQUIRE(grads.numbers_after("hidden_").size() == states.size());
  for (std::size_t i = 0; i < states.size(); ++i) {
    const std::string name = "hidden_" + std::to_string(i);
    check_close(grads, name, host(be, states[i]), tokens_of(grads, name, batch), output_rtol<T>);
  }
  const index_t blocks = net.config().num_hidden_layers;
  REQUIRE(index_t(grads.numbers_after("attention_").size()) == blocks);
  for (index_t i = 0; i < blocks; ++i) {
    const std::string name = "attention_" + std::to_string(i);
    index_t first = 0;
    for (index_t s = 0; s < batch.sequences(); ++s) {
      const index_t length = batch.lengths[s];
      for (index_t h = 0; h < net.config().num_attention_heads; ++h) {
        check_close(grads, name, host(be, net.attention(i, first, length, h)),
                    attention_of(grads, name, batch, s, h), output_rtol<T>);
      }
      first += length;
    }
  }
  check_close(grads, "pooled", host(be, net.pooled()), grads.tokens("pooled"), output_rtol<T>);
}

template <class T, class Adapter>
void check_gradients(const fixture& grads, const peft::reader& adapter, classifier<T>& net,
                     adapted<cpu<T>, Adapter>& linear) {
  cpu<T>& be = net.backend();
  std::size_t compared = 0;
  const auto compare_with = [&](const std::string& tensor, const auto& gradient) {
    const std::string name = "grad." + tensor;
    check_close(grads, name, host(be, gradient), grads.matrix(name), gradient_rtol<T>);
    ++compared;
  };
  for (const peft::adapter_layer& module : adapter.layers()) {
    const index_t l = peft::detail::layer_of_module(net, module.module);
    const auto& gradient = linear.layers()[l].gradient;
    compare_with(module.A, gradient.A);
    compare_with(module.B, gradient.B);
    if constexpr (std::is_same_v<Adapter, adapter::dora>) {
      compare_with(module.magnitude, gradient.magnitude);
    }
  }
  compare_with("base_model.model.classifier.weight", net.head().gradient.W);
  compare_with("base_model.model.classifier.bias", net.head().gradient.b);
  std::size_t recorded = 0;
  for (const std::string& name : grads.names()) {
    recorded += name.starts_with("grad.");
  }
  CHECK(compared == recorded);
}

template <class T, class Adapter>
void check_model(const std::string& model) {
  const fixture io_file("bert/" + model + "/io");
  const fixture grads("bert/" + model + "/grads");
  cpu<T> be;
  classifier<T> net = base_model<T>(be, model);
  token_batch<T> batch = padded_batch<T>(io_file, "input_ids", "attention_mask", "token_type_ids");
  CHECK(batch.tokens() < index_t(io_file.entries("input_ids").size()));  // there is padding
  batch.target = label_row<T>(grads);

  base_operator<cpu<T>> base(net);
  check_close(io_file, "logits_base", host(be, net.forward(batch, base)),
              io_file.tokens("logits_base"), output_rtol<T>);

  const peft::reader adapter(path_of("bert/" + model + "/adapter"));
  adapted<cpu<T>, Adapter> linear(net);
  peft::attach(net, linear, adapter);
  load_classifier<T>(be, adapter, net.head().parameters);
  check_close(io_file, "logits_adapter", host(be, net.forward(batch, linear)),
              io_file.tokens("logits_adapter"), output_rtol<T>);

  linear.zero_gradients();
  const double loss = double(net.loss_and_gradient(batch, linear));
  check_number(grads, "loss", loss, grads.scalar("loss"), output_rtol<T>);
  check_states<T>(grads, net, batch);
  check_gradients<T>(grads, adapter, net, linear);

  for (index_t l = 0; l < index_t(linear.layers().size()); ++l) {
    if (linear.layers()[l].attached) {
      linear.merge(l);
    }
  }
  check_close(io_file, "logits_merged", host(be, net.forward(batch, base)),
              io_file.tokens("logits_merged"), output_rtol<T>);
}

}  // namespace

TEST_CASE_TEMPLATE("bert: plain LoRA of PEFT on every kind of layer", T, double, float) {
  check_model<T, adapter::lora>("a_plain");
}
TEST_CASE_TEMPLATE("bert: rank and alpha patterns and rsLoRA", T, double, float) {
  check_model<T, adapter::lora>("b_patterns");
}
TEST_CASE_TEMPLATE("bert: DoRA", T, double, float) {
  check_model<T, adapter::dora>("c_dora");
}
