// The real all-MiniLM-L6-v2 against transformers and PEFT: sentence embeddings, hidden states, and
// the gradients of LoRA on query and value and of a head on the embeddings.
#include <preheat/huggingface/bert.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/operators/adapted.hpp>

#include "golden/encoder_fixture.hpp"
#include "model_folder.hpp"

namespace {

using namespace golden;
using namespace preheat;

template <class T>
constexpr bool in_double = std::is_same_v<T, double>;

template <class T>
using encoder = nn::bert<cpu<T>, nn::mean_pool_head>;

template <class T>
encoder<T> model(cpu<T>& be, head_params<cpu<T>> head) {
  return {be,
          huggingface::read_bert<cpu<T>>(be, minilm::model_folder()),
          std::move(head),
          {.normalize = true}};
}

template <class T>
void check_embeddings() {
  const fixture file("minilm/embeddings");
  cpu<T> be;
  const index_t features = file.shape("emb_128")[1];
  encoder<T> net = model<T>(be, nn::random_head(be, 2, features, generator(1)));
  base_operator<cpu<T>> base(net);
  for (const index_t length : file.param<std::vector<index_t>>("max_length")) {
    const std::string suffix = "_" + std::to_string(length);
    const auto batch = padded_batch<T>(file, "input_ids" + suffix, "attention_mask" + suffix);
    const dense found = host(be, net.embed(batch, base));
    const dense expected = file.tokens("emb" + suffix);
    if (in_double<T>) {
      check_close(file, "emb" + suffix, found, expected, 1e-10);
    } else {
      check_within(file, "emb" + suffix, found, expected, 2e-6);
    }
    if (length != 128) {
      continue;
    }
    const const_view_of<cpu<T>> last = net.hidden_states().back();
    for (const index_t sentence : file.numbers_after("hidden_")) {
      const std::string name = "hidden_" + std::to_string(sentence);
      const index_t first =
          std::accumulate(batch.lengths.begin(), batch.lengths.begin() + sentence, index_t(0));
      const dense states = host(be, last.col_range(first, batch.lengths[sentence]));
      if (in_double<T>) {
        check_close(file, name, states, file.tokens(name), 1e-10);
      } else {
        check_within(file, name, states, file.tokens(name), 1e-4);
      }
    }
  }
}

template <class T>
void check_gradients() {
  const fixture file("minilm/lora_grads");
  cpu<T> be;
  const auto matrix = [&](const std::string& name) { return mat<cpu<T>>(file.matrix(name)); };
  encoder<T> net = model<T>(be, {matrix("head.weight"), matrix("head.bias")});
  adapted<cpu<T>, adapter::lora> linear(net);
  std::vector<index_t> with_adapter;
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    const std::string name = net.layers()[l].name;
    if (file.contains(name + ".lora_A.weight")) {
      linear.attach(index_t(l), {matrix(name + ".lora_A.weight"), matrix(name + ".lora_B.weight")},
                    T(file.param<double>("scaling")));
      with_adapter.push_back(index_t(l));
    }
  }
  REQUIRE(!with_adapter.empty());

  auto batch = padded_batch<T>(file, "input_ids", "attention_mask");
  batch.target = label_row<T>(file);
  const double loss = double(net.loss_and_gradient(batch, linear));
  check_number(file, "loss", loss, file.scalar("loss"), in_double<T> ? 1e-9 : 1e-4);
  check_close(file, "emb", host(be, net.pooled()), file.tokens("emb"), in_double<T> ? 1e-9 : 1e-4);
  const auto check_gradient = [&](const std::string& name, const mat<cpu<T>>& gradient) {
    check_close(file, "grad." + name, host(be, gradient), file.matrix("grad." + name),
                in_double<T> ? 1e-6 : 1e-3);
  };
  for (const index_t l : with_adapter) {
    const std::string name = net.layers()[l].name;
    const auto& gradient = linear.layers()[l].gradient;
    check_gradient(name + ".lora_A.weight", gradient.A);
    check_gradient(name + ".lora_B.weight", gradient.B);
  }
  check_gradient("head.weight", net.head().gradient.W);
  check_gradient("head.bias", net.head().gradient.b);
  check_close(file, "logits", host(be, net.forward(batch, linear)), file.tokens("logits"),
              in_double<T> ? 1e-9 : 1e-3);
}

}  // namespace

TEST_CASE_TEMPLATE("minilm: sentence embeddings and hidden states", T, double, float) {
  check_embeddings<T>();
}
TEST_CASE_TEMPLATE("minilm: gradients of LoRA and of a head", T, double, float) {
  check_gradients<T>();
}
