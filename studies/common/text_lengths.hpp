// Texts of a batch made longer, so that they have few different lengths: on a GPU, attention is work of its own for
// each of them (nn/causal_attention.hpp).
#pragma once
#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include <preheat/nn/causal_batch.hpp>

namespace studies::common {

// The next multiple, or `most`; a text that is longer than that stays.
constexpr preheat::index_t rounded_length(preheat::index_t length, preheat::index_t multiple,
                                          preheat::index_t most) {
  return std::max(length, std::min((length + multiple - 1) / multiple * multiple, most));
}

// Orders a decoder's texts by length, and lengthens them by tokens after their ends. No token before them sees
// them, and they count in no loss: losses and gradients stay. Who looks at the layers' inputs sees them, too.
template <class Batch>
void round_lengths(Batch& batch, preheat::index_t multiple, preheat::index_t most) {
  using preheat::index_t;
  std::vector<std::size_t> order(batch.lengths.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return batch.lengths[a] < batch.lengths[b];
  });
  std::vector<index_t> first(order.size());
  std::exclusive_scan(batch.lengths.begin(), batch.lengths.end(), first.begin(), index_t(0));
  std::vector<index_t> ids, labels, lengths;
  for (const std::size_t text : order) {
    const index_t length = rounded_length(batch.lengths[text], multiple, most);
    const auto add = [&](const std::vector<index_t>& from, std::vector<index_t>& to,
                         index_t filler) {
      const auto begin = from.begin() + first[text];
      to.insert(to.end(), begin, begin + batch.lengths[text]);
      to.insert(to.end(), std::size_t(length - batch.lengths[text]), filler);
    };
    add(batch.ids, ids, batch.ids[std::size_t(first[text])]);
    add(batch.labels, labels, preheat::nn::not_counted);
    lengths.push_back(length);
  }
  batch.ids = std::move(ids);
  batch.labels = std::move(labels);
  batch.lengths = std::move(lengths);
}

}  // namespace studies::common
