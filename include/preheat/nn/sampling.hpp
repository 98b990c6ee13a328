// The next token, from the logits of a language model.
//
//   greedy       the largest logit, the first of equal ones
//   temperature  t > 0: drawn with probabilities softmax(logits/t)
//   top-p        drawn among the most probable tokens only, as few as have the sum top_p at least
//                (Holtzman et al., arXiv 1904.09751)
#pragma once
#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "../core/random.hpp"

namespace preheat::nn {

struct sampling {
  double temperature = 0;  // 0: greedy
  double top_p = 1;        // 1: all tokens
};

// Errors: invalid_argument for settings out of range.
inline void require_valid(const sampling& s) {
  require(s.temperature >= 0, "temperature >= 0", s.temperature, 0.0);
  require(0 < s.top_p && s.top_p <= 1, "0 < top_p <= 1", s.top_p, 1.0);
}

// Errors: invalid_argument for logits with a NaN or infinite entry. Cost: O(tokens), and their sorting
// with top_p < 1.
template <class T>
index_t next_token(std::span<const T> logits, const sampling& s, generator& gen) {
  require(!logits.empty(), "next_token: at least one logit");
  require(std::all_of(logits.begin(), logits.end(), [](T x) { return std::isfinite(x); }),
          "the logits of a language model have a NaN or infinite entry");
  const index_t best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  if (s.temperature == 0) {
    return best;
  }
  std::vector<index_t> order(logits.size());
  std::iota(order.begin(), order.end(), index_t(0));
  if (s.top_p < 1) {
    std::stable_sort(order.begin(), order.end(),
                     [&](index_t a, index_t b) { return logits[a] > logits[b]; });
  }
  std::vector<double> sums;  // of the probabilities of order[0], order[1], …, not normalized
  double sum = 0;
  for (const index_t token : order) {
    sum += std::exp((double(logits[token]) - double(logits[best])) / s.temperature);
    sums.push_back(sum);
  }
  const auto at_least = [&](double wanted) {
    return std::min<index_t>(std::lower_bound(sums.begin(), sums.end(), wanted) - sums.begin(),
                             index_t(sums.size()) - 1);
  };
  const index_t last = s.top_p < 1 ? at_least(s.top_p * sum) : index_t(sums.size()) - 1;
  const double drawn = gen.uniform() * sums[last];
  const index_t place = std::upper_bound(sums.begin(), sums.begin() + last, drawn) - sums.begin();
  return order[place];
}

}  // namespace preheat::nn
