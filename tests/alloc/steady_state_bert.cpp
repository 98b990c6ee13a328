// A step of a BERT encoder with a trained head allocates nothing once it runs steadily: steps 10 to
// 20 of `fit`.
#include "watch.hpp"

#include <preheat/nn/bert.hpp>

#include "support/small_encoder.hpp"

namespace {

using namespace alloc;
using conformance::repeated_batch;
using conformance::small_batch;
using conformance::small_encoder;

// Batches that take turns: the whole of one, and its first two sequences.
template <class Be>
struct changing_batches {
  repeated_batch<Be> whole;
  repeated_batch<Be> part;
  void load(const generator& stream, index_t step, nn::token_batch<Be>& batch) {
    (step % 2 == 0 ? whole : part).load(stream, step, batch);
  }
};

TEST_CASE_TEMPLATE("allocations: none in a step of a BERT encoder", T, float, double) {
  using Be = watched_cpu<T>;
  Be be;
  const auto one = [&](const std::string& name, auto net, auto m, const nn::bert_dropout& dropout,
                       const fit_options& options, const auto&... validation) {
    auto whole = small_batch<Be>(be);
    auto part = small_batch<Be>(be);
    part.ids.resize(5);
    part.types.resize(5);
    part.lengths.resize(2);
    be.resize(part.target, 1, 2);
    be.fill(1, part.target);
    changing_batches<Be> data{{&whole}, {&part}};
    net.set_dropout(dropout);
    check("bert, " + name, count_steps(m, net, data, options, validation...));
  };
  const auto mean = [&] { return small_encoder<nn::bert<Be, nn::mean_pool_head>>(be); };
  const auto pooled = [&] { return small_encoder<nn::bert<Be, nn::cls_head>>(be); };
  one("lora on every layer", mean(), lora{}, {}, {});
  one("lora with pooler", pooled(), lora{}, {}, {});
  one("lora on query and value", mean(), lora{}, {}, {.targets = {"query", "value"}});
  one("dropout everywhere", mean(), lora{}, {.hidden = 0.1, .attention = 0.1}, {.dropout = 0.1});
  if constexpr (std::is_same_v<T, float>) {
    one("hrp", mean(), hrp<>{}, {}, {});
  }
  const auto all = small_batch<Be>(be);
  one("everything at once", pooled(), lora{}, {.hidden = 0.1, .attention = 0.1},
      {.max_gradient_norm = 0.1,
       .accumulate = 2,
       .dropout = 0.1,
       .head_rate = 0.01,
       .evaluate_every = 5},
      all);
}

}  // namespace
