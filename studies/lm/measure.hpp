// What is measured of a model: its loss and the share of tokens that it guesses, the definitions that
// it writes, and how much memory the process has taken.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <preheat/nn/generate.hpp>

#include "model.hpp"
#include "studies/common/outcome.hpp"

namespace studies::lm {

using common::score;

namespace detail {

// −log of the probability of a token, and whether it is the most probable one.
inline void add_token(std::span<const float> logits, index_t token, double& loss,
                      std::size_t& right) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) {
    sum += double(std::exp(z - largest));
  }
  const float own = logits[std::size_t(token)];
  loss += std::log(sum) + double(largest) - double(own);
  right += own == largest;
}

}  // namespace detail

// Means over the tokens that count, in double precision. A few texts at a time, because their logits
// exist whole.
template <class Linear>
score evaluate(network& net, std::span<const example> examples, Linear& linear) {
  constexpr std::size_t most_at_once = 8;
  double loss = 0;
  std::size_t right = 0;
  for (std::size_t first = 0; first < examples.size(); first += most_at_once) {
    const auto some = examples.subspan(first, std::min(most_at_once, examples.size() - first));
    const auto Z = net.forward(batch_of<backend>(some), linear);
    const std::vector<float> logits = the_backend().download(Z);
    const auto vocabulary = std::size_t(Z.rows());
    std::size_t column = 0;
    for (const example& e : some) {
      for (std::size_t t = std::max<std::size_t>(e.prompt, 1); t < e.ids.size(); ++t) {
        detail::add_token(std::span(logits).subspan((column + t - 1) * vocabulary, vocabulary),
                          e.ids[t], loss, right);
      }
      column += e.ids.size();
    }
  }
  const double tokens = double(counted_in(examples));
  return {loss / tokens, double(right) / tokens};
}

// The definitions that the model gives the first words of the test part: the most probable token each
// time, up to the end of the line.
template <class Linear>
std::vector<std::string> write_samples(network& net, const base_model& model, const data_set& set,
                                       int count, int most_tokens, Linear& linear) {
  std::vector<std::string> samples;
  for (std::size_t i = 0; i < std::min(std::size_t(count), set.test.size()); ++i) {
    std::vector<index_t> written = preheat::nn::generate(
        net, linear, set.test[i].question(), {.max_tokens = most_tokens, .stop = model.stop()});
    const bool ended = std::count(model.stop().begin(), model.stop().end(), written.back()) > 0;
    std::string text =
        model.words().decode(written, preheat::text::special_tokens::skip) + (ended ? "" : " …");
    text.resize(std::min(text.size(), text.find('\n')));
    text.erase(0, text.find_first_not_of(' '));
    samples.push_back(text);
  }
  return samples;
}

// The most memory that the process had since the last call of `forget_peak`, in MB; NaN where the
// system does not say. All runs at a time are in it.
inline double peak_of_process() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stod(line.substr(6)) / 1000 * 1.024;  // KiB
    }
  }
  return common::not_a_number;
}
inline void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

}  // namespace studies::lm
