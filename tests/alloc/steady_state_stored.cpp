// A step of a decoder whose weights stay stored allocates nothing either: the panels are unpacked into
// buffers that are kept.
#include "watch.hpp"

#include <preheat/adapter/dora.hpp>
#include <preheat/nn/decoder.hpp>

#include "support/small_decoder.hpp"
#include "support/stored.hpp"

namespace {

using namespace alloc;
using namespace conformance;

template <class Be>
struct one_text {
  nn::causal_batch<Be> batch = small_text<Be>();
  void load(const generator&, index_t, nn::causal_batch<Be>& to) const { to = batch; }
};

TEST_CASE_TEMPLATE("allocations: none in a step of a decoder whose weights stay stored", T, float,
                   double) {
  using Be = watched_cpu<T>;
  Be be;
  const auto one = [&](const std::string& name, const auto& m, nn::decoder_config config,
                       weight_storage keep) {
    auto both = keep_twice(be, keep, [&] { return small_decoder_weights(be, config); });
    nn::decoder<Be> net(be, std::move(both.kept));
    one_text<Be> data;
    check("stored decoder, " + name, count_steps(m, net, data, {}));
  };
  auto tied = small_llama();
  tied.tied_head = true;
  one("bf16", lora{}, small_llama(), weight_storage::bf16);
  one("NF4, tied head", lora{}, tied, weight_storage::nf4);
  one("NF4, DoRA", method<adapter::dora>{}, small_llama(), weight_storage::nf4);
}

}  // namespace
