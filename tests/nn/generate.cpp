// Generation: the tokens that full passes over the text so far would choose, and where it ends.
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/generate.hpp>
#include <preheat/operators/adapted.hpp>

#include "support/backends.hpp"
#include "support/small_decoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Greedy search without a cache.
template <class Be, class Net, class Linear>
std::vector<index_t> greedy_by_full_passes(Be& be, Net& net, Linear& linear,
                                           std::vector<index_t> text, index_t count) {
  std::vector<index_t> written;
  for (index_t k = 0; k < count; ++k) {
    const nn::causal_batch<Be> batch{text, {}, {index_t(text.size())}};
    const table Z = read<Be>(be, net.forward(batch, linear));
    const auto last = Z.values.end() - Z.rows;
    written.push_back(std::max_element(last, Z.values.end()) - last);
    text.push_back(written.back());
  }
  return written;
}

}  // namespace

TEST_CASE_TEMPLATE("generate: greedy tokens are those of full passes, with an adapter", Be,
                   PREHEAT_ALL_BACKENDS) {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto net = small_decoder(be, config);
    base_operator<Be> base(net);
    adapted<Be, adapter::lora> linear(net);
    const auto& W = net.layers()[0].W;
    factors<Be> f{matrix(be, random_table(2, W.cols(), 1)),
                  matrix(be, random_table(W.rows(), 2, 2))};
    linear.attach(0, adapter::lora{}.start(be, linear.base(0), std::move(f), generator(0)), 1);
    const std::vector<index_t> prompt{1, 5, 10, 3};
    const nn::generate_options o{.max_tokens = 12};
    const auto with_adapter = nn::generate(net, linear, prompt, o);
    CHECK(with_adapter == greedy_by_full_passes(be, net, linear, prompt, 12));
    CHECK(nn::generate(net, base, prompt, o) == greedy_by_full_passes(be, net, base, prompt, 12));
  }
}

TEST_CASE("generate: it ends after a stop token, and calls with every token") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  const std::vector<index_t> prompt{1, 5};
  const auto all = nn::generate(net, base, prompt, {.max_tokens = 10});
  CHECK(all.size() == 10);
  const auto at = std::find(all.begin(), all.end(), all[4]);
  std::vector<index_t> seen;
  const auto stopped = nn::generate(net, base, prompt, {.max_tokens = 10, .stop = {99, all[4]}},
                                    generator(), [&](index_t token) { seen.push_back(token); });
  CHECK(stopped == std::vector<index_t>(all.begin(), at + 1));
  CHECK(seen == stopped);
}

TEST_CASE("generate: drawn tokens depend on the generator alone") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  const std::vector<index_t> prompt{1, 5};
  const nn::generate_options o{.max_tokens = 30, .sampling = {.temperature = 2}};
  const auto one = nn::generate(net, base, prompt, o, generator(1));
  CHECK(nn::generate(net, base, prompt, o, generator(1)) == one);
  CHECK(nn::generate(net, base, prompt, o, generator(2)) != one);
  // Only the best token is left, or has all the probability.
  const auto greedy = nn::generate(net, base, prompt, {.max_tokens = 30});
  CHECK(nn::generate(net, base, prompt,
                     {.max_tokens = 30, .sampling = {.temperature = 2, .top_p = 1e-9}},
                     generator(1)) == greedy);
  CHECK(nn::generate(net, base, prompt, {.max_tokens = 30, .sampling = {.temperature = 1e-9}},
                     generator(1)) == greedy);
}

TEST_CASE("generate: what does not fit is refused with words") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  const auto refused = [&](const std::vector<index_t>& prompt, const nn::generate_options& o,
                           const char* text) {
    CHECK_THROWS_WITH_AS(nn::generate(net, base, prompt, o), text, invalid_argument);
  };
  refused({}, {}, "preheat: generate: a prompt has at least one token");
  refused({1}, {.max_tokens = 0}, "preheat: generate: max_tokens >= 1 (0, 1)");
  refused({1, 2}, {.max_tokens = 40},
          "preheat: generate: tokens of the prompt + max_tokens - 1 <= max_positions (41, 40)");
  refused({1}, {.sampling = {.temperature = -1}}, "preheat: temperature >= 0 (-1, 0)");
  refused({1}, {.sampling = {.temperature = 1, .top_p = 0}}, "preheat: 0 < top_p <= 1 (0, 1)");
  refused({11}, {},
          "preheat: generate: tokens of the prompt + max_tokens - 1 <= max_positions (40, 40)");
  refused({11}, {.max_tokens = 3}, "preheat: 0 <= id of a token < vocab_size (11, 11)");
  CHECK(nn::generate(net, base, std::vector<index_t>{1, 2}, {.max_tokens = 39}).size() == 39);
}
