// The start of a run by every init, calibration included: one layer n×n in float, rank 16, one batch of
// 256 tokens where the data are asked (two passes over it where the init makes two).
//
//   ./run bench --benchmark_filter='start/.*/4096'       the table of docs/inits.md
#include "bench.hpp"

namespace bench {

namespace {

using be_type = cpu<float>;
using network_type = nn::mlp<be_type, nn::mean_squared>;

// A weight with singular values that fall, and the data of a regression.
struct problem {
  be_type be;
  network_type net;
  nn::minibatches<be_type> data;

  explicit problem(index_t n)
      : net(be, layers(be, n)), data(be, random(be, n, 256, 3), random(be, n, 256, 4), 0) {}

 private:
  static std::vector<base_layer<be_type>> layers(be_type& be, index_t n) {
    mat<be_type> W = random(be, n, n, 1);
    mat<be_type> decay = be.zeros(n, 1);
    for (index_t i = 0; i < n; ++i) {
      be.fill(float(1 / std::sqrt(double(n) * double(1 + i))), view(decay).row_range(i, 1));
    }
    be.scale_rows(decay, W);
    std::vector<base_layer<be_type>> all;
    all.push_back({"weight", std::move(W), {}});
    return all;
  }
};

template <class Method>
void add_start(const std::string& name, const Method& m) {
  for (const index_t n : {256, 4096}) {
    const std::string size = std::to_string(n) + (n > 256 ? "_large" : "");
    benchmark::RegisterBenchmark(("start/" + name + "/" + size).c_str(),
                                 [m, n](benchmark::State& state) {
                                   problem p(n);
                                   for (auto _ : state) {
                                     auto r = start_run(m, p.net, p.data, {.rank = 16});
                                     benchmark::DoNotOptimize(r.adapters.layers().data());
                                   }
                                 })
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace

void register_inits() {
  add_start("kaiming", lora{});
  add_start("orthogonal", lora_orthogonal{});
  add_start("peft_orthogonal", with<lora, init::peft_orthogonal>{});
  add_start("gaussian_pair", with<adalora, init::gaussian_pair>{});
  add_start("random_pair", lora_random_pair{});
  add_start("shards", miss{});
  add_start("pissa", pissa{});
  add_start("pissa_randomized", pissa_randomized{});
  add_start("pissa_krylov", pissa_krylov{});
  add_start("milora", milora{});
  add_start("olora", olora{});
  add_start("mica", mica{});
  add_start("kasa", kasa{});
  add_start("xs", lora_xs{});
  add_start("loftq", loftq{});
  add_start("eva", eva{.init = {.batches = 1}});
  add_start("corda", corda{.init = {.batches = 1}});
  add_start("lora_null", lora_null{.init = {.batches = 1}});
  add_start("lora_da", lora_da{.init = {.batches = 1}});
  add_start("gora", gora{.init = {.batches = 1}});
  add_start("lora_ga", lora_ga<>{.init = {.gradient = {.batches = 1}}});
  add_start("lora_ga_sketched",
            lora_ga<init::sketched_gradient>{.init = {.gradient = {.batches = 1}}});
  add_start("lora_one", lora_one<>{.init = {.gradient = {.batches = 1}}});
  add_start("lora_one_sketched",
            lora_one<init::sketched_gradient>{.init = {.gradient = {.batches = 1}}});
  add_start("lora_sb", lora_sb{.init = {.batches = 1}});
  add_start("hrp", hrp<>{.init = {.steps = 1}});
}

}  // namespace bench
