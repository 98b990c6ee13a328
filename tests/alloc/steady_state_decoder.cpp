// A step of a decoder allocates nothing once it runs steadily: steps 10 to 20 of `fit`.
#include "watch.hpp"

#include <preheat/nn/decoder.hpp>

#include "support/small_decoder.hpp"

namespace {

using namespace alloc;
using conformance::sequence_of;
using conformance::small_decoder;
using conformance::small_text;

// Batches that take turns: the whole text, and one of its sequences.
template <class Be>
struct changing_texts {
  nn::causal_batch<Be> whole = small_text<Be>();
  nn::causal_batch<Be> part = sequence_of(whole, 2);
  void load(const generator&, index_t step, nn::causal_batch<Be>& batch) const {
    batch = step % 2 == 0 ? whole : part;
  }
};

TEST_CASE_TEMPLATE("allocations: none in a step of a decoder", T, float, double) {
  using Be = watched_cpu<T>;
  Be be;
  const auto one = [&](const std::string& name, const nn::decoder_config& config,
                       nn::recompute what, const fit_options& options) {
    auto net = small_decoder(be, config);
    net.set_recompute(what);
    net.set_head_chunk(3);
    changing_texts<Be> data;
    check("decoder, " + name, count_steps(lora{}, net, data, options));
  };
  using nn::recompute;
  const auto llama = conformance::small_llama();
  one("llama", llama, recompute::norms_and_gates, {});
  one("llama, all kept", llama, recompute::nothing, {});
  one("llama, blocks again", llama, recompute::blocks, {});
  one("llama, q_proj and v_proj", llama, recompute::norms_and_gates,
      {.targets = {"q_proj", "v_proj"}});
  one("llama, dropout and two batches", llama, recompute::blocks,
      {.accumulate = 2, .dropout = 0.1});
  if constexpr (std::is_same_v<T, float>) {
    one("gpt2", conformance::small_gpt2(), recompute::norms_and_gates, {});
  }
}

}  // namespace
