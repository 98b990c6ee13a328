#include "network.hpp"

#include <cstddef>

namespace apps::finetune {
namespace {

using preheat::nn::token_batch;

// A batch as an encoder takes it.
token_batch<Be> encoded(Be& be, const text_batch& batch) {
  token_batch<Be> texts{.ids = batch.ids,
                        .types = {},
                        .lengths = batch.lengths,
                        .target = be.zeros(1, index_t(batch.classes.size())),
                        .divisor = batch.divisor};
  preheat::require(batch.classes.size() == batch.lengths.size(), "one class per text",
                   batch.classes.size(), batch.lengths.size());
  be.upload(std::vector<preheat::scalar_of<Be>>(batch.classes.begin(), batch.classes.end()),
            texts.target);
  return texts;
}

// Calls f(part) with a batch's texts, so many at a time as may be evaluated together.
template <class F>
void each_part(const text_batch& batch, F f) {
  text_batch part;
  std::size_t first = 0;
  for (std::size_t i = 0; i < batch.lengths.size(); ++i) {
    const std::size_t length = std::size_t(batch.lengths[i]);
    if (!part.ids.empty() &&
        part.ids.size() + length > std::size_t(network::most_evaluated_tokens)) {
      f(part);
      part = {};
    }
    const auto append = [&](const std::vector<index_t>& from, std::vector<index_t>& to) {
      const auto begin = from.begin() + std::ptrdiff_t(first);
      to.insert(to.end(), begin, begin + std::ptrdiff_t(length));
    };
    append(batch.ids, part.ids);
    if (!batch.labels.empty()) {
      append(batch.labels, part.labels);
    }
    if (!batch.classes.empty()) {
      part.classes.push_back(batch.classes[i]);
    }
    part.lengths.push_back(batch.lengths[i]);
    first += length;
  }
  f(part);
}

index_t counted_tokens(const text_batch& batch) {
  index_t count = 0;
  std::size_t first = 0;
  for (const index_t length : batch.lengths) {
    count += counted_in(std::span(batch.labels).subspan(first, std::size_t(length)));
    first += std::size_t(length);
  }
  return count;
}

}  // namespace

network network::copy() const {
  return std::visit([](const auto& model) { return network(model.copy()); }, model_);
}

Be& network::backend() const {
  return std::visit([](const auto& model) -> Be& { return model.backend(); }, model_);
}

std::span<preheat::base_layer<Be>> network::layers() {
  return std::visit([](auto& model) { return model.layers(); }, model_);
}

index_t network::vocab_size() const {
  return std::visit([](const auto& model) { return model.config().vocab_size; }, model_);
}

index_t network::most_tokens() const {
  return classifies() ? as_encoder().config().max_position_embeddings : config().max_positions;
}

preheat::trained_head<Be>& network::head() {
  return classifies() ? as_encoder().head() : no_head_;
}

double network::mean_loss(const batch_type& batch, any_linear& linear) {
  require_consistent(batch, !classifies());
  double sum = 0;
  index_t count = 0;
  each_part(batch, [&](batch_type& part) {
    const index_t here = classifies() ? part.sequences() : counted_tokens(part);
    if (here > 0) {
      if (computes_on_gpu && !classifies()) {
        round_lengths(part, most_tokens());
      }
      const float loss = classifies() ? as_encoder().loss(encoded(backend(), part), linear)
                                      : as_decoder().loss(part, linear);
      sum += double(loss) * double(here);
      count += here;
    }
  });
  preheat::require(count > 0, "a batch has tokens that count");
  return sum / double(count);
}

double network::accuracy(const batch_type& batch, any_linear& linear) {
  index_t right = 0;
  each_part(batch, [&](const batch_type& part) {
    Be& be = backend();
    const auto outputs = as_encoder().forward(encoded(be, part), linear);
    const std::vector<float> logits = be.download(outputs);
    for (std::size_t i = 0; i < part.classes.size(); ++i) {
      const auto column = logits.begin() + std::ptrdiff_t(i) * outputs.rows();
      const auto largest = std::max_element(column, column + outputs.rows());
      right += index_t(largest - column) == part.classes[i];
    }
  });
  return double(right) / double(batch.sequences());
}

float network::gradient_pass(const batch_type& batch, any_linear& linear) {
  return classifies() ? as_encoder().loss_and_gradient(encoded(backend(), batch), linear)
                      : as_decoder().loss_and_gradient(batch, linear);
}

preheat::const_view_of<Be> network::logits_pass(std::span<const index_t> ids,
                                                preheat::nn::key_value_cache<Be>& cache,
                                                any_linear& linear) {
  return as_decoder().next_logits(ids, cache, linear);
}

}  // namespace apps::finetune
