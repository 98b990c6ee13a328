// Tiny causal language models of every kind, with adapters that PEFT saved, against transformers and
// PEFT: hidden states, logits with and without the adapter, merged, and of every sequence alone, the
// loss of a batch and of every token, and the gradient of every tensor of the adapter.
#include <preheat/adapter/dora.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/peft/load.hpp>

#include <filesystem>

#include "encoder_fixture.hpp"
#include "support/scratch.hpp"

namespace {

using namespace golden;
using namespace preheat;

// The folders of the fixtures: "llama", "qwen3", ….
std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_of("llama"))) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <class T>
nn::causal_batch<cpu<T>> batch_of(const fixture& io_file) {
  nn::causal_batch<cpu<T>> batch;
  nn::pack<cpu<T>>(whole_numbers(io_file, "input_ids"), whole_numbers(io_file, "labels"),
                   whole_numbers(io_file, "attention_mask"), io_file.count("input_ids"), batch);
  return batch;
}

template <class T, class Adapter>
class checked_model {
 public:
  using Be = cpu<T>;
  using net_type = nn::decoder<Be>;

  explicit checked_model(const std::string& model)
      : io_file_("llama/" + model + "/io"),
        grads_("llama/" + model + "/grads"),
        folder_(path_of("llama/" + model)),
        adapter_(folder_ + "/adapter"),
        batch_(batch_of<T>(io_file_)) {
    CHECK(batch_.tokens() < index_t(io_file_.entries("input_ids").size()));  // there is padding
  }

  void check() {
    auto weights = huggingface::read_decoder<Be>(be_, folder_ + "/base");
    {
      net_type net(be_, huggingface::read_decoder<Be>(be_, folder_ + "/base"));
      base_operator<Be> base(net);
      close("logits_base", net.forward(batch_, base));
    }
    for (const peft::adapter_layer& module : adapter_.layers()) {
      if (module.embedding) {
        embeddings_ = peft::embedding_adapters::merged;
        peft::merge_embedding(be_, adapter_, module.module, weights.frozen.words);
      }
    }
    net_type net(be_, std::move(weights));
    adapted<Be, Adapter> linear(net);
    peft::attach(net, linear, adapter_, peft::base_weights::original, embeddings_);
    close("logits", net.forward(batch_, linear));
    {  // and as a report, with every tensor of the folder in its place
      const auto report =
          peft::load<Adapter>(folder_ + "/adapter", net, peft::base_weights::original, embeddings_);
      CHECK(report.layers.size() ==
            std::size_t(std::count_if(adapter_.layers().begin(), adapter_.layers().end(),
                                      [](const auto& l) { return !l.embedding; })));
    }
    check_states(net);
    check_losses(net, linear);
    for (const index_t chunk : {1, 5, 1000}) {
      net.set_head_chunk(chunk);
      linear.zero_gradients();
      check_number(io_file_, "loss", double(net.loss_and_gradient(batch_, linear)),
                   io_file_.scalar("loss"), output_rtol<T>);
      check_gradients(net, linear);
    }
    for (index_t l = 0; l < index_t(linear.layers().size()); ++l) {
      if (linear.layers()[l].attached) {
        linear.merge(l);
      }
    }
    base_operator<Be> base(net);
    close("logits", net.forward(batch_, base));
    check_other_spelling(net.config());
  }

 private:
  // config.v4.json says the same in the words of transformers 4.
  void check_other_spelling(const nn::decoder_config& config) {
    const scratch::temporary_directory folder;
    std::filesystem::copy_file(folder_ + "/base/config.v4.json", folder / "config.json");
    CHECK(huggingface::read_decoder_config(folder.path()) == config);
  }
  void close(const std::string& tensor, const_view_of<Be> found) {
    check_close(io_file_, tensor, host(be_, found), tokens_of(io_file_, tensor, batch_),
                output_rtol<T>);
  }
  void check_states(net_type& net) {
    const auto states = net.hidden_states();
    const auto recorded = io_file_.numbers_after("hidden_");  // of all, or of the last
    CHECK(recorded.back() + 1 == index_t(states.size()));
    for (const index_t i : recorded) {
      close("hidden_" + std::to_string(i), states[i]);
    }
  }
  // Every sequence alone, and every token alone.
  void check_losses(net_type& net, adapted<Be, Adapter>& linear) {
    check_number(io_file_, "loss", double(net.loss(batch_, linear)), io_file_.scalar("loss"),
                 output_rtol<T>);
    const std::vector<double> token_loss = grads_.entries("token_loss");
    const index_t width = grads_.shape("token_loss")[1];
    index_t first = 0;
    std::size_t counted = 0;
    for (index_t s = 0; s < batch_.sequences(); ++s) {
      const index_t length = batch_.lengths[s];
      nn::causal_batch<Be> alone;
      alone.ids.assign(batch_.ids.begin() + first, batch_.ids.begin() + first + length);
      alone.labels.assign(batch_.labels.begin() + first, batch_.labels.begin() + first + length);
      alone.lengths = {length};
      const std::string name = "single." + std::to_string(s);
      check_close(io_file_, name + ".logits", host(be_, net.forward(alone, linear)),
                  tokens_of(io_file_, "logits", batch_).middleCols(first, length), output_rtol<T>);
      for (index_t t = 0; t + 1 < length; ++t) {
        const double expected = token_loss[std::size_t(s * width + t)];
        if (batch_.labels[first + t + 1] == nn::not_counted) {
          CHECK(expected == 0);
          continue;
        }
        alone.labels.assign(std::size_t(length), nn::not_counted);
        alone.labels[t + 1] = batch_.labels[first + t + 1];
        check_number(grads_, "token_loss", double(net.loss(alone, linear)), expected,
                     10 * output_rtol<T>);
        ++counted;
      }
      first += length;
    }
    CHECK(counted > 0);
  }
  void check_gradients(net_type& net, adapted<Be, Adapter>& linear) {
    std::size_t compared = 0;
    const auto compare_with = [&](const std::string& tensor, const auto& gradient) {
      const std::string name = "grad." + tensor;
      check_close(grads_, name, host(be_, gradient), grads_.matrix(name), gradient_rtol<T>);
      ++compared;
    };
    for (const peft::adapter_layer& module : adapter_.layers()) {
      if (module.embedding) {
        compared += 2;  // merged: its gradients are not computed
        continue;
      }
      const auto& gradient =
          linear.layers()[peft::detail::layer_of_module(net, module.module)].gradient;
      compare_with(module.A, gradient.A);
      compare_with(module.B, gradient.B);
      if constexpr (std::is_same_v<Adapter, adapter::dora>) {
        compare_with(module.magnitude, gradient.magnitude);
      }
    }
    std::size_t recorded = 0;
    for (const std::string& name : grads_.names()) {
      recorded += name.starts_with("grad.") && !name.starts_with("grad.hidden_");
    }
    CHECK(compared == recorded);
  }

  fixture io_file_;
  fixture grads_;
  std::string folder_;
  peft::reader adapter_;
  peft::embedding_adapters embeddings_ = peft::embedding_adapters::refused;
  nn::causal_batch<Be> batch_;
  Be be_;
};

}  // namespace

TEST_CASE_TEMPLATE("decoder: every kind of model with PEFT's adapters", T, double, float) {
  const std::vector<std::string> names = models();
  CHECK(!names.empty());
  for (const std::string& name : names) {
    CAPTURE(name);
    if (peft::reader(path_of("llama/" + name + "/adapter")).config().dora()) {
      checked_model<T, adapter::dora>(name).check();
    } else {
      checked_model<T, adapter::lora>(name).check();
    }
  }
}
