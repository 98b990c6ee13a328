#include "model.hpp"

#include <fmt/format.h>

#include <preheat/huggingface/bert.hpp>

#include "sentences.hpp"
#include "studies/common/weights_checksum.hpp"

namespace studies::text {
std::shared_ptr<const base_model> read_model(const std::filesystem::path& folder) {
  auto weights = preheat::huggingface::read_bert<backend>(the_backend(), folder);
  const preheat::nn::bert_config shape = weights.config;
  network net(
      the_backend(), std::move(weights),
      preheat::nn::random_head(the_backend(), classes, shape.hidden_size, preheat::generator(0)));
  const std::string name =
      fmt::format("BERT of {} layers, width {}, weights {:016x}", shape.num_hidden_layers,
                  shape.hidden_size, common::weights_checksum(net));
  return std::make_shared<const base_model>(std::move(net), name);
}

}  // namespace studies::text
