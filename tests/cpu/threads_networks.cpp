// The laws of networks on CPU backends of two and three threads, and a run on one, two and three.
#define PREHEAT_TEST_THREADS
#include "nn/networks.cpp"

TEST_CASE("networks: a training step on several threads is that of one") {
  constexpr index_t batch = 64;
  const std::vector<index_t> sizes{160, 512, 96};
  const auto gradient = [&](int threads) {
    cpu_double be(threads);
    nn::mlp<cpu_double, nn::mean_squared> net(be, sizes, 3);
    adapted<cpu_double, adapter::lora> linear(net);
    for (index_t l = 0; l < 2; ++l) {
      const index_t n = sizes[l];
      const index_t m = sizes[std::size_t(l) + 1];
      linear.attach(
          l, {matrix(be, random_table(4, n, 60 + l)), matrix(be, random_table(m, 4, 70 + l))},
          0.01);
    }
    const nn::labelled_batch<cpu_double> given{matrix(be, random_table(sizes[0], batch, 80)),
                                               matrix(be, random_table(sizes[2], batch, 81))};
    net.loss_and_gradient(given, linear);
    std::vector<table> all;
    for (const auto& adapted_layer : linear.layers()) {
      all.push_back(read<cpu_double>(be, adapted_layer.gradient.A));
      all.push_back(read<cpu_double>(be, adapted_layer.gradient.B));
    }
    return all;
  };
  const std::vector<table> one = gradient(1);
  for (const int threads : {2, 3}) {
    const std::vector<table> several = gradient(threads);
    for (std::size_t i = 0; i < one.size(); ++i) {
      CAPTURE(threads);
      CAPTURE(i);
      CHECK(largest(one[i]) > 0);
      CHECK(gap(several[i], one[i]) < 1e-12 * largest(one[i]));
    }
  }
}
