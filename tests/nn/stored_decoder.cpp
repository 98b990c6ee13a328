// A decoder whose frozen weights stay stored computes, trains and starts what the decoder with the dense
// matrices of the same numbers does, to rounding; methods that would write to W are refused.
#include <preheat/adapter/delora.hpp>
#include <preheat/adapter/dora.hpp>
#include <preheat/adapter/hira.hpp>
#include <preheat/adapter/randlora.hpp>
#include <preheat/init/xs.hpp>
#include <preheat/methods.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/small_decoder.hpp"
#include "support/stored.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
struct same_text {
  nn::causal_batch<Be> batch = small_text<Be>();
  void load(const generator&, index_t, nn::causal_batch<Be>& to) const { to = batch; }
};

constexpr weight_storage kinds[] = {weight_storage::as_stored, weight_storage::bf16,
                                    weight_storage::nf4};

// Both decoders of a config, one with stored weights.
template <class Be>
struct pair_of_decoders {
  Be be;
  nn::decoder<Be> kept, dense;

  pair_of_decoders(const nn::decoder_config& c, weight_storage keep)
      : pair_of_decoders(c, keep, Be()) {}

 private:
  pair_of_decoders(const nn::decoder_config& c, weight_storage keep, Be with)
      : pair_of_decoders(with,
                         keep_twice(with, keep, [&] { return small_decoder_weights(with, c); })) {}
  template <class Both>
  pair_of_decoders(const Be& with, Both both)
      : be(with), kept(be, std::move(both.kept)), dense(be, std::move(both.dense)) {}
};

// The largest difference of the trained parameters.
template <class Be, class Report>
double difference(Be& be, const Report& a, const Report& b) {
  double most = 0;
  for (std::size_t l = 0; l < a.layers.size(); ++l) {
    for_each([&](auto, const auto& x,
                 const auto& y) { most = std::max(most, gap(read<Be>(be, x), read<Be>(be, y))); },
             a.layers[l].parameters, b.layers[l].parameters);
  }
  return most;
}

}  // namespace

TEST_CASE_TEMPLATE("stored decoder: a run of LoRA is the run on the dense weights", Be, cpu_float,
                   cpu_double) {
  for (const named_config& one : small_decoders()) {
    for (const weight_storage keep : kinds) {
      CAPTURE(one.name);
      CAPTURE(int(keep));
      pair_of_decoders<Be> both(one.config, keep);
      same_text<Be> data;
      const fit_options options{.rank = 2, .steps = 4};
      const auto a = fit(lora{}, both.kept, data, options);
      const auto b = fit(lora{}, both.dense, data, options);
      const double allowed = 2e4 * epsilon<Be>;
      for (std::size_t k = 0; k < a.losses.size(); ++k) {
        CHECK(std::abs(a.losses[k] - b.losses[k]) < allowed);
      }
      CHECK(difference(both.be, a, b) < 10 * allowed);
      CHECK(a.losses.back() < a.losses.front());
      auto tuned = attach(both.kept, a);
      auto copy = both.kept.copy();  // shares what is stored
      auto of_copy = attach(copy, a);
      CHECK(both.kept.loss(data.batch, tuned) == copy.loss(data.batch, of_copy));
    }
  }
}

TEST_CASE("stored decoder: gradients of the factors equal differences") {
  using Be = cpu_double;
  pair_of_decoders<Be> both(small_llama(), weight_storage::nf4);
  auto& net = both.kept;
  const auto batch = small_text<Be>();
  same_text<Be> data;
  auto report = fit(lora{}, net, data, {.rank = 2, .steps = 2});
  auto linear = attach(net, report);
  linear.zero_gradients();
  net.loss_and_gradient(batch, linear);
  std::uint64_t seed = 50;
  for (auto& layer : linear.layers()) {
    for (auto* const part : {&layer.parameters.A, &layer.parameters.B}) {
      const table gradient =
          read<Be>(both.be, part == &layer.parameters.A ? layer.gradient.A : layer.gradient.B);
      const table start = read<Be>(both.be, *part);
      const table v = random_table(start.rows, start.cols, ++seed);
      const auto at = [&](double step) {
        write<Be>(both.be, start + step * v, *part);
        return net.loss(batch, linear);
      };
      const double h = 1e-4;
      const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      at(0);
      CHECK(dot(gradient, v) == doctest::Approx(slope).epsilon(1e-7).scale(1e-3));
    }
  }
}

TEST_CASE("stored decoder: adapters and inits that ask for a dense W get it") {
  using Be = cpu_double;
  same_text<Be> data;
  const fit_options options{.rank = 2, .steps = 3};
  const auto compare = [&](const auto& m) {
    pair_of_decoders<Be> both(small_llama(), weight_storage::nf4);
    const auto a = fit(m, both.kept, data, options);
    const auto b = fit(m, both.dense, data, options);
    CHECK(difference(both.be, a, b) < 1e-9);
    CHECK(a.losses.back() != a.losses.front());
  };
  compare(method<adapter::dora>{});
  compare(method<adapter::xs, init::xs>{});
  compare(method<adapter::full>{});
  compare(method<adapter::hira>{});
  compare(method<adapter::delora>{});
  compare(method<adapter::randlora>{});
}

TEST_CASE("stored decoder: what writes to W is refused until W is dense") {
  using Be = cpu_double;
  pair_of_decoders<Be> both(small_llama(), weight_storage::nf4);
  same_text<Be> data;
  const fit_options options{.rank = 2, .steps = 2, .targets = {"q_proj"}};
  const auto refused = [&](const auto& m) {
    return refusal([&] { fit(m, both.kept, data, options); });
  };
  const std::string text = refused(method<init::pissa>{});
  CHECK(text.find("layer 'model.layers.0.self_attn.q_proj': this method changes W") !=
        std::string::npos);
  CHECK(text.find("net.layers()[0].W.make_dense(be)") != std::string::npos);
  CHECK(refused(method<init::loftq>{}) == text);
  CHECK(refused(method<chain::merge_every>{}) == text);

  const auto report = fit(lora{}, both.kept, data, options);
  CHECK(refusal([&] { merge(both.kept, report); }).find("kept as stored (NF4") !=
        std::string::npos);

  for (nn::decoder<Be>* const net : {&both.kept, &both.dense}) {
    for (auto& layer : net->layers()) {
      if (layer.name.ends_with("q_proj")) {
        layer.W.make_dense(both.be);
      }
    }
  }
  const auto a = fit(method<init::pissa>{}, both.kept, data, options);
  const auto b = fit(method<init::pissa>{}, both.dense, data, options);
  CHECK(difference(both.be, a, b) < 1e-9);
  merge(both.kept, a);
  CHECK(both.kept.layers()[1].W.is_stored());
}

TEST_CASE("stored decoder: an embedding and weights of a wrong shape are refused") {
  using Be = cpu_float;
  Be be;
  const auto make = [&] { return small_decoder_weights(be, small_llama()); };
  auto wrong = keep_twice(be, weight_storage::as_stored, make).kept;
  wrong.frozen.word_rows = stored(float_table(10, 6, 1));
  CHECK(refusal([&] {
          nn::decoder<Be>(be, std::move(wrong));
        }).find("the stored embedding: rows") != std::string::npos);
  auto other = keep_twice(be, weight_storage::as_stored, make).kept;
  other.layers[0].W = stored(float_table(16, 7, 1));
  CHECK(refusal([&] { nn::decoder<Be>(be, std::move(other)); }).find("W: columns") !=
        std::string::npos);
}

TEST_CASE("stored decoder: a tied head that is untied shares the stored embedding") {
  using Be = cpu_double;
  Be be;
  nn::decoder_config c = small_llama();
  c.tied_head = true;
  const auto make = [&] { return small_decoder_weights(be, c); };
  auto both = keep_twice(be, weight_storage::nf4, make);
  nn::untie_head(be, both.kept);
  nn::untie_head(be, both.dense);
  CHECK(both.kept.layers.back().W.is_stored());
  nn::decoder<Be> kept(be, std::move(both.kept));
  nn::decoder<Be> dense(be, std::move(both.dense));
  base_operator<Be> a(kept), b(dense);
  const auto batch = small_text<Be>();
  CHECK(std::abs(kept.loss(batch, a) - dense.loss(batch, b)) < 1e-12);
}
