// The definitions that a model writes.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "model.hpp"

namespace studies::lm {

// Those that the model gives the first words of the test part: the most probable token each
// time, up to the end of the line.
template <class Linear>
std::vector<std::string> write_samples(network& net, const base_model& model, const data_set& set,
                                       int count, int most_tokens, Linear& linear) {
  std::vector<std::string> samples;
  for (std::size_t i = 0; i < std::min(std::size_t(count), set.test.size()); ++i) {
    const std::vector<index_t> written = net.write(
        set.test[i].question(), linear, {.max_tokens = most_tokens, .stop = model.stop()});
    const bool ended = std::count(model.stop().begin(), model.stop().end(), written.back()) > 0;
    std::string text =
        model.words().decode(written, preheat::text::special_tokens::skip) + (ended ? "" : " …");
    text.resize(std::min(text.size(), text.find('\n')));
    text.erase(0, text.find_first_not_of(' '));
    samples.push_back(text);
  }
  return samples;
}

}  // namespace studies::lm
