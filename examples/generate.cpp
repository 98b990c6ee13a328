// A language model that writes: a folder of Hugging Face or a GGUF file, with or without an adapter of
// PEFT. Tokens are numbers here; text/tokenizer headers make them from text.
//
//   generate MODEL [ADAPTER] TOKEN...      generate SmolLM2-135M 504 3575 282 4649 314
//
// Without arguments a small model of random weights writes. Exit code 0 if the tokens with a cache are
// those of a pass over the whole text.
#include <preheat/gguf/decoder.hpp>
#include <preheat/huggingface/decoder.hpp>
#include <preheat/nn/generate.hpp>
#include <preheat/peft/attach.hpp>
#include <preheat/preheat.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>

using namespace preheat;
using Be = cpu<float>;

// A model of two blocks with random weights.
nn::decoder_weights<Be> random_model(Be& be) {
  nn::decoder_weights<Be> w;
  w.config = {.vocab_size = 50,
              .hidden_size = 32,
              .intermediate_size = 64,
              .blocks = 2,
              .heads = 4,
              .key_value_heads = 2,
              .head_size = 8,
              .tied_head = true};
  const generator gen(1);
  const auto ones = [&] {
    nn::norm_weights<Be> norm{be.zeros(32, 1)};
    be.fill(1, norm.gamma);
    return norm;
  };
  w.frozen.words = linalg::normal(be, 32, 50, 1, gen);
  w.frozen.norm = ones();
  for (index_t i = 0; i < w.config.blocks; ++i) {
    for (const nn::decoder_layer_shape& s : nn::linear_layers_of_block(w.config)) {
      w.layers.push_back(
          {nn::block_prefix(w.config, i) + s.name,
           linalg::normal(be, s.rows, s.cols, 0.2, gen.fork(purpose::base, w.layers.size()))});
    }
    w.frozen.blocks.push_back({ones(), ones()});
  }
  return w;
}

int main(int argc, char** argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  Be be;
  const bool given = !words.empty();
  const bool gguf_file = given && words[0].ends_with(".gguf");
  nn::decoder<Be> net(be, !given      ? random_model(be)
                          : gguf_file ? gguf::read_decoder(be, words[0])
                                      : huggingface::read_decoder(be, words[0]));
  words.erase(words.begin(), words.begin() + given);
  adapted<Be, adapter::lora> linear(net);
  if (!words.empty() && words[0].find_first_not_of("0123456789") != std::string::npos) {
    peft::attach(net, linear, peft::reader(words[0]));
    words.erase(words.begin());
  }
  std::vector<index_t> text;
  std::transform(words.begin(), words.end(), std::back_inserter(text),
                 [](const std::string& word) { return std::stoll(word); });
  if (text.empty()) {
    text = {1, 2, 3};
  }
  const auto written = nn::generate(net, linear, text, {.max_tokens = 20}, generator(1),
                                    [](index_t token) { std::printf("%d ", int(token)); });
  text.insert(text.end(), written.begin(), written.end());
  const const_view_of<Be> Z = net.forward({text, {}, {index_t(text.size())}}, linear);
  const auto logits = be.download(Z.col_range(Z.cols() - 2, 1));  // that chose the last token
  std::printf("\n");
  return std::max_element(logits.begin(), logits.end()) - logits.begin() == written.back() ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "generate: %s\n", error.what());
  return 1;
}
