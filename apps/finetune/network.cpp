#include "network.hpp"

#include <cstddef>

namespace apps::finetune {

double network::mean_loss(const batch_type& batch, any_linear& linear) {
  require_consistent(batch, true);
  double sum = 0;
  index_t tokens = 0;
  index_t tokens_here = 0;
  batch_type part;
  const auto add_part = [&] {
    if (tokens_here > 0) {
      sum += double(decoder_.loss(part, linear)) * double(tokens_here);
      tokens += tokens_here;
    }
    part = {};
    tokens_here = 0;
  };
  std::size_t first = 0;
  for (const index_t length : batch.lengths) {
    const auto ids = std::span(batch.ids).subspan(first, std::size_t(length));
    const auto labels = std::span(batch.labels).subspan(first, std::size_t(length));
    if (!part.ids.empty() && part.ids.size() + ids.size() > std::size_t(most_evaluated_tokens)) {
      add_part();
    }
    part.ids.insert(part.ids.end(), ids.begin(), ids.end());
    part.labels.insert(part.labels.end(), labels.begin(), labels.end());
    part.lengths.push_back(length);
    tokens_here += counted_in(labels);
    first += ids.size();
  }
  add_part();
  preheat::require(tokens > 0, "a batch has tokens that count");
  return sum / double(tokens);
}

float network::gradient_pass(const batch_type& batch, any_linear& linear) {
  return decoder_.loss_and_gradient(batch, linear);
}

preheat::const_view_of<Be> network::logits_pass(std::span<const index_t> ids,
                                                preheat::nn::key_value_cache<Be>& cache,
                                                any_linear& linear) {
  return decoder_.next_logits(ids, cache, linear);
}

}  // namespace apps::finetune
