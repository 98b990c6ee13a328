// A text that a language model writes: token by token, each from the logits after all tokens before it.
//
//   const std::vector<index_t> answer = nn::generate(net, linear, prompt, {.stop = {2}});
//   nn::generate(net, linear, prompt, {.sampling = {.temperature = 0.8, .top_p = 0.95}}, generator(1),
//                [](index_t token) { … });            // called with every token as it comes
//
// The prompt is read in one pass, and each new token in a pass of its own over a cache of keys and
// values (nn/key_value_cache.hpp). The network computes through the operator, so adapters take part.
#pragma once
#include <algorithm>
#include <span>
#include <vector>

#include "key_value_cache.hpp"
#include "sampling.hpp"

namespace preheat::nn {

struct generate_options {
  index_t max_tokens = 128;
  std::vector<index_t> stop{};  // the text ends after one of these tokens
  nn::sampling sampling{};
};

// The tokens after the prompt, the stop token among them if one came. Errors: invalid_argument for an
// empty prompt, for more tokens than the network has positions, for settings out of range.
template <class Net, class Linear, class F>
std::vector<index_t> generate(Net& net, Linear& linear, std::span<const index_t> prompt,
                              const generate_options& o, generator gen, F on_token) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  require(!prompt.empty(), "generate: a prompt has at least one token");
  require(o.max_tokens >= 1, "generate: max_tokens >= 1", o.max_tokens, 1);
  require_valid(o.sampling);
  const index_t positions = net.config().max_positions;
  require(
      index_t(prompt.size()) <= positions && o.max_tokens <= positions - index_t(prompt.size()) + 1,
      "generate: tokens of the prompt + max_tokens - 1 <= max_positions",
      index_t(prompt.size()) + std::min(o.max_tokens, positions) - 1, positions);
  Be& be = net.backend();
  key_value_cache<Be> cache(be, net.config(), index_t(prompt.size()) + o.max_tokens - 1);
  std::vector<index_t> written;
  std::span<const index_t> next = prompt;
  while (index_t(written.size()) < o.max_tokens) {
    const std::vector<T> logits = be.download(net.next_logits(next, cache, linear));
    written.push_back(next_token<T>(logits, o.sampling, gen));
    on_token(written.back());
    if (std::find(o.stop.begin(), o.stop.end(), written.back()) != o.stop.end()) {
      break;
    }
    next = std::span<const index_t>(written).last(1);
  }
  return written;
}
template <class Net, class Linear>
std::vector<index_t> generate(Net& net, Linear& linear, std::span<const index_t> prompt,
                              const generate_options& o = {}, generator gen = generator()) {
  return generate(net, linear, prompt, o, gen, [](index_t) {});
}

}  // namespace preheat::nn
