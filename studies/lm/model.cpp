#include "model.hpp"

#include <fmt/format.h>

#include <preheat/gguf/decoder.hpp>
#include <preheat/text/read_gguf_tokenizer.hpp>

#include "studies/common/weights_checksum.hpp"

namespace studies::lm {
std::shared_ptr<const base_model> read_model(const std::filesystem::path& path) {
  const preheat::gguf::reader file(path);
  const preheat::text::gguf_tokenizer described = preheat::text::read_gguf_tokenizer(file);
  tokenizer words(model_of(described));
  std::vector<index_t> stop;
  if (described.eos) {
    stop.push_back(*described.eos);
  }
  for (index_t id = 0; id < words.size(); ++id) {
    if (words.bytes(id).find('\n') != std::string::npos) {
      stop.push_back(id);
    }
  }
  network::decoder model(the_backend(), preheat::gguf::read_decoder(the_backend(), file));
  if (computes_on_gpu) {
    model.set_recompute(preheat::nn::recompute::nothing);  // texts are short
  }
  network net(std::move(model));
  const preheat::nn::decoder_config& shape = net.config();
  preheat::require(words.size() <= shape.vocab_size, "tokens of the tokenizer <= of the model",
                   words.size(), shape.vocab_size);
  index_t numbers = 0;
  for (const auto& l : net.layers()) {
    numbers += l.W.rows() * l.W.cols();
  }
  const std::string name = fmt::format(
      "decoder of {} blocks, width {}, {} numbers in {} linear layers; weights {:016x}",
      shape.blocks, shape.hidden_size, numbers, net.layers().size(), common::weights_checksum(net));
  return std::make_shared<const base_model>(std::move(net), std::move(words), std::move(stop),
                                            name);
}

}  // namespace studies::lm
