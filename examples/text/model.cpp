#include "model.hpp"

#include <fmt/format.h>

#include <preheat/io/bert.hpp>

#include "sentences.hpp"

namespace sentiment {
namespace {

// A number that changes when the weights do: their sums and those of their squares.
std::string checksum(network& net) {
  double sum = 0;
  double squares = 0;
  for (const auto& l : net.layers()) {
    for (const float value : the_backend().download(l.W)) {
      sum += double(value);
      squares += double(value) * double(value);
    }
  }
  return fmt::format("{:.17g} {:.17g}", sum, squares);
}

}  // namespace

std::shared_ptr<const base_model> read_model(const std::filesystem::path& folder) {
  auto weights = preheat::io::read_bert<backend>(the_backend(), folder);
  const preheat::nn::bert_config shape = weights.config;
  network net(
      the_backend(), std::move(weights),
      preheat::nn::random_head(the_backend(), classes, shape.hidden_size, preheat::generator(0)));
  const std::string name = fmt::format("BERT of {} layers, width {}, weights {}",
                                       shape.num_hidden_layers, shape.hidden_size, checksum(net));
  return std::make_shared<const base_model>(std::move(net), name);
}

}  // namespace sentiment
