// A language model that writes, from a folder of Hugging Face or a GGUF file. Tokens are numbers here:
//
//   generate MODEL TOKEN...        generate SmolLM2-135M 504 3575 282 4649 314
//
// Without arguments a small model of random weights writes. Exit code 0 if a pass over the whole text
// chooses the last token too.
#include <preheat/gguf/decoder.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/preheat.hpp>

#include <algorithm>
#include <cstdio>
#include <string_view>

using namespace preheat;
using Be = cpu<float>;

nn::decoder_weights<Be> random_model(Be& be) {
  nn::decoder_weights<Be> w{.config = {.vocab_size = 50, .hidden_size = 32, .blocks = 2}};
  w.config.intermediate_size = 64;
  w.config.heads = w.config.key_value_heads = w.config.head_size = 4;
  const auto random = [&](index_t m, index_t n) {
    return linalg::normal(be, m, n, 0.3, generator(m + n + w.layers.size()));
  };
  w.frozen.words = random(32, 50);
  w.frozen.norm.gamma = random(32, 1);
  for (index_t i = 0; i < w.config.blocks; ++i) {
    for (const nn::decoder_layer_shape& s : nn::linear_layers_of_block(w.config)) {
      w.layers.push_back({nn::block_prefix(w.config, i) + s.name, random(s.rows, s.cols)});
    }
    w.frozen.blocks.push_back({{random(32, 1)}, {random(32, 1)}});
  }
  w.layers.push_back({"lm_head", random(50, 32)});
  return w;
}

int main(int argc, char** argv) {
  Be be;
  const std::string_view model = argc > 1 ? argv[1] : "";
  nn::decoder<Be> net(be, model.empty()              ? random_model(be)
                          : model.ends_with(".gguf") ? gguf::read_decoder(be, model)
                                                     : huggingface::read_decoder(be, model));
  std::vector<index_t> text = {1, 2, 3};
  if (argc > 2) {
    text.resize(std::size_t(argc - 2));
    std::transform(argv + 2, argv + argc, text.begin(),
                   [](const char* s) { return std::atoll(s); });
  }
  base_operator<Be> linear(net);  // or an `adapted` one, with adapters
  const auto written = nn::generate(net, linear, text, {.max_tokens = 20}, generator(),
                                    [](index_t token) { std::printf("%d ", int(token)); });
  text.insert(text.end(), written.begin(), written.end());
  const auto Z = net.forward({text, {}, {index_t(text.size())}}, linear);
  const auto logits = be.download(Z.col_range(Z.cols() - 2, 1));  // of the last token
  return std::max_element(logits.begin(), logits.end()) - logits.begin() == written.back() ? 0 : 1;
}
