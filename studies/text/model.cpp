#include "model.hpp"

#include <bit>
#include <cstdint>

#include <fmt/format.h>

#include <preheat/huggingface/bert.hpp>

#include "sentences.hpp"

namespace studies::text {
namespace {

// A number that changes when the weights of the linear layers do: 64-bit FNV-1a.
std::uint64_t checksum(network& net) {
  std::uint64_t hash = 14695981039346656037u;
  for (const auto& l : net.layers()) {
    for (const float value : the_backend().download(l.W)) {
      hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 1099511628211u;
    }
  }
  return hash;
}

}  // namespace

std::shared_ptr<const base_model> read_model(const std::filesystem::path& folder) {
  auto weights = preheat::huggingface::read_bert<backend>(the_backend(), folder);
  const preheat::nn::bert_config shape = weights.config;
  network net(
      the_backend(), std::move(weights),
      preheat::nn::random_head(the_backend(), classes, shape.hidden_size, preheat::generator(0)));
  const std::string name = fmt::format("BERT of {} layers, width {}, weights {:016x}",
                                       shape.num_hidden_layers, shape.hidden_size, checksum(net));
  return std::make_shared<const base_model>(std::move(net), name);
}

}  // namespace studies::text
