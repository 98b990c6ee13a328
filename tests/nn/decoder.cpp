// The decoder as a network: gradients of everything against differences, and what it promises.
#include <preheat/adapter/full.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/operators/adapted.hpp>

#include <array>

#include "support/backends.hpp"
#include "support/small_decoder.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Every linear layer trained whole.
template <class Net>
adapted<typename Net::backend_type, adapter::full> all_trained(Net& net, index_t first = 0) {
  auto& be = net.backend();
  adapted<typename Net::backend_type, adapter::full> linear(net);
  for (index_t l = first; l < index_t(net.layers().size()); ++l) {
    linear.attach(l, adapter::full{}.start(be, linear.base(l), generator(0)), 1);
  }
  return linear;
}

constexpr std::array<nn::recompute, 3> all_recomputes = {
    nn::recompute::nothing, nn::recompute::norms_and_gates, nn::recompute::blocks};

// ∂f/∂x in the direction v, by differences of fourth order.
template <class Be, class F>
double slope(Be& be, F f, mat<Be>& x, const table& v, double h = 1e-4) {
  const table start = read<Be>(be, x);
  const auto at = [&](double step) {
    write<Be>(be, start + step * v, x);
    return double(f());
  };
  const double result = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  write<Be>(be, start, x);
  return result;
}

}  // namespace

TEST_CASE("decoder: gradients of every weight and bias equal differences, for every option") {
  using Be = cpu_double;
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto net = small_decoder(be, config);
    net.set_head_chunk(3);
    const auto batch = small_text<Be>();
    auto linear = all_trained(net);
    linear.zero_gradients();
    net.loss_and_gradient(batch, linear);
    std::vector<std::pair<mat<Be>*, table>> parts;
    for (auto& layer : linear.layers()) {
      parts.emplace_back(&layer.parameters.W, read<Be>(be, layer.gradient.W));
      if (layer.parameters.b.rows() > 0) {
        parts.emplace_back(&layer.parameters.b, read<Be>(be, layer.gradient.b));
      }
    }
    std::uint64_t seed = 1;
    for (auto& [parameter, gradient] : parts) {
      for (int k = 0; k < 2; ++k) {
        const table v = random_table(gradient.rows, gradient.cols, ++seed);
        const double expected = slope<Be>(
            be, [&] { return net.loss(batch, linear); }, *parameter, v);
        CHECK(dot(gradient, v) == doctest::Approx(expected).epsilon(1e-8).scale(1e-3));
      }
    }
  }
}

TEST_CASE("decoder: a window of one block is that of this block") {
  using Be = cpu_double;
  Be be;
  const auto states_with = [&](index_t window, const std::vector<index_t>& without) {
    nn::decoder_config c = small_llama();
    c.window = window;
    c.blocks_without_window = without;
    auto net = small_decoder(be, c);
    base_operator<Be> base(net);
    net.forward(small_text<Be>(), base);
    std::vector<std::vector<double>> states;
    for (const auto X : net.hidden_states()) {
      states.push_back(be.download(X));
    }
    return states;
  };
  const auto none = states_with(0, {});
  const auto every = states_with(3, {});
  const auto second = states_with(3, {0});
  CHECK(second[1] == none[1]);
  CHECK(second[1] != every[1]);
  CHECK(second[2] != none[2]);
  CHECK(states_with(3, {1})[1] == every[1]);
  CHECK(states_with(3, {0, 1})[2] == none[2]);
}

TEST_CASE_TEMPLATE("decoder: the other backends find the same loss and gradients", Be,
                   PREHEAT_ALL_BACKENDS) {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    cpu_double exact_be;
    Be be;
    auto exact = small_decoder(exact_be, config);
    auto net = small_decoder(be, config);
    auto exact_linear = all_trained(exact);
    auto linear = all_trained(net);
    const double expected = double(exact.loss_and_gradient(small_text<cpu_double>(), exact_linear));
    const double found = double(net.loss_and_gradient(small_text<Be>(), linear));
    CHECK(found == doctest::Approx(expected).epsilon(tolerance<Be>(16)));
    for (std::size_t l = 0; l < linear.layers().size(); ++l) {
      const table g = read<cpu_double>(exact_be, exact_linear.layers()[l].gradient.W);
      CHECK(gap(read<Be>(be, linear.layers()[l].gradient.W), g) <= tolerance<Be>(64) * largest(g));
    }
  }
}

TEST_CASE("decoder: the loss is the mean of the counted tokens' −log softmax, shifted by one") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  const auto batch = small_text<Be>();
  const table Z = read<Be>(be, net.forward(batch, base));
  CHECK(Z.rows == 11);
  CHECK(Z.cols == batch.tokens());
  double sum = 0;
  int counted = 0;
  index_t first = 0;
  for (const index_t length : batch.lengths) {
    for (index_t t = first; t + 1 < first + length; ++t) {
      const index_t label = batch.labels[t + 1];
      if (label >= 0) {
        double total = 0;
        for (index_t i = 0; i < Z.rows; ++i) {
          total += std::exp(Z(i, t));
        }
        sum += std::log(total) - Z(label, t);
        ++counted;
      }
    }
    first += length;
  }
  CHECK(counted == 6);
  for (const index_t chunk : {1, 3, 6, 100}) {
    net.set_head_chunk(chunk);
    CHECK(net.loss(batch, base) == doctest::Approx(sum / counted).epsilon(1e-13));
  }
}

// A sequence does not know what else is in the batch, nor a token what follows it.
TEST_CASE_TEMPLATE("decoder: a sequence gives the same logits alone and in any company", Be,
                   PREHEAT_ALL_BACKENDS) {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto net = small_decoder(be, config);
    base_operator<Be> base(net);
    const auto batch = small_text<Be>();
    const table together = read<Be>(be, net.forward(batch, base));
    index_t first = 0;
    for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
      const index_t n = batch.lengths[s];
      auto alone = sequence_of(batch, s);
      CHECK(gap(read<Be>(be, net.forward(alone, base)), columns(together, first, n)) <
            tolerance<Be>(16));
      alone.ids.back() = (alone.ids.back() + 1) % config.vocab_size;
      const table changed = read<Be>(be, net.forward(alone, base));
      if (n > 1) {
        CHECK(gap(columns(changed, 0, n - 1), columns(together, first, n - 1)) < tolerance<Be>(16));
      }
      CHECK(gap(columns(changed, n - 1, 1), columns(together, first + n - 1, 1)) > 1e-3);
      first += n;
    }
  }
}

// Three tokens at once, then one by one, then the rest: as the whole text in one pass.
TEST_CASE_TEMPLATE("decoder: the next token's logits are the same with a cache", Be,
                   PREHEAT_ALL_BACKENDS) {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto net = small_decoder(be, config);
    base_operator<Be> base(net);
    const nn::causal_batch<Be> text{{1, 5, 10, 3, 7, 0, 2, 2, 9}, {}, {9}};
    const table whole = read<Be>(be, net.forward(text, base));
    nn::key_value_cache<Be> cache(be, config, 9);
    const std::span<const index_t> ids(text.ids);
    const auto check_next = [&](index_t first, index_t count) {
      CHECK(cache.length() == first);
      const table next = read<Be>(
          be, net.next_logits(ids.subspan(std::size_t(first), std::size_t(count)), cache, base));
      CHECK(gap(next, columns(whole, first + count - 1, 1)) < tolerance<Be>(16));
    };
    check_next(0, 3);
    check_next(3, 1);
    check_next(4, 1);
    check_next(5, 4);
    cache.cut(4);
    check_next(4, 2);
  }
}

TEST_CASE("decoder: a loss can end in any layer, and in none") {
  using Be = archetype_double;
  const nn::decoder_config config = small_llama();
  Be be;
  auto whole_net = small_decoder(be, config);
  auto whole = all_trained(whole_net);
  whole.zero_gradients();
  const auto batch = small_text<Be>();
  const double loss = whole_net.loss_and_gradient(batch, whole);
  long before = 0;
  for (index_t first = 0; first <= index_t(whole.layers().size()); ++first) {
    auto net = small_decoder(be, config);
    auto linear = all_trained(net, first);
    linear.zero_gradients();
    be.forget();
    CHECK(net.loss_and_gradient(batch, linear) == loss);
    for (index_t l = first; l < index_t(whole.layers().size()); ++l) {
      CHECK(same(read<Be>(be, linear.layers()[l].gradient.W),
                 read<Be>(be, whole.layers()[l].gradient.W)));
    }
    // Nothing below the lowest trained layer is differentiated: fewer products with each.
    CHECK((first == 0 || be.calls["gemm"] < before));
    before = be.calls["gemm"];
  }
  be.forget();
  auto net = small_decoder(be, config);
  base_operator<Be> base(net);
  be.forget();
  net.loss(batch, base);
  CHECK(be.calls["gemm"] == before);
}

TEST_CASE("decoder: every frozen option below one trained layer") {
  using Be = cpu_double;
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto whole_net = small_decoder(be, config);
    auto whole = all_trained(whole_net);
    whole.zero_gradients();
    const auto batch = small_text<Be>();
    whole_net.loss_and_gradient(batch, whole);
    for (index_t l = 0; l < index_t(whole.layers().size()); ++l) {
      auto net = small_decoder(be, config);
      adapted<Be, adapter::full> linear(net);
      linear.attach(l, adapter::full{}.start(be, linear.base(l), generator(0)), 1);
      net.loss_and_gradient(batch, linear);
      CHECK(gap(read<Be>(be, linear.layers()[l].gradient.W),
                read<Be>(be, whole.layers()[l].gradient.W)) < 1e-13);
    }
  }
}

TEST_CASE("decoder: what is computed again gives the same bits, and is observed once") {
  using Be = cpu_double;
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    const auto batch = small_text<Be>();
    std::vector<table> expected;
    double loss = 0;
    for (const auto what : all_recomputes) {
      CAPTURE(int(what));
      auto net = small_decoder(be, config);
      net.set_recompute(what);
      adapted<Be, adapter::lora> linear(net);
      for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
        const auto& W = net.layers()[l].W;
        linear.attach(
            l, {matrix(be, random_table(2, W.cols(), 1)), matrix(be, random_table(W.rows(), 2, 2))},
            0.5);
      }
      linear.set_dropout(0.3, generator(4));
      std::vector<int> observed(net.layers().size());
      std::vector<int> ended(net.layers().size());
      linear.observe_input = [&](index_t l, const_view_of<Be>) { ++observed[l]; };
      linear.gradient_final = [&](index_t l) { ++ended[l]; };
      net.loss(batch, linear);
      linear.zero_gradients();
      const double found = net.loss_and_gradient(batch, linear);
      CHECK(observed == std::vector<int>(net.layers().size(), 1));
      CHECK(ended == std::vector<int>(net.layers().size(), 1));
      std::vector<table> gradients;
      for (const auto& l : linear.layers()) {
        gradients.push_back(read<Be>(be, l.gradient.A));
        gradients.push_back(read<Be>(be, l.gradient.B));
      }
      if (expected.empty()) {
        expected = std::move(gradients);
        loss = found;
        continue;
      }
      CHECK(found == loss);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CHECK(same(gradients[i], expected[i]));
      }
      // A text that goes on, too.
      base_operator<Be> base(net);
      const table whole = read<Be>(be, net.forward(sequence_of(batch, 2), base));
      nn::key_value_cache<Be> cache(be, config, 7);
      const std::span<const index_t> ids = std::span(batch.ids).subspan(6, 7);
      net.next_logits(ids.first(5), cache, base);
      CHECK(gap(read<Be>(be, net.next_logits(ids.subspan(5), cache, base)), columns(whole, 6, 1)) <
            1e-13);
    }
  }
}

TEST_CASE("decoder: less is kept where it is computed again") {
  using Be = archetype_double;
  long before = 0;
  for (const auto what :
       {nn::recompute::blocks, nn::recompute::norms_and_gates, nn::recompute::nothing}) {
    nn::decoder_config config = small_llama();
    config.blocks = 6;
    Be be;
    auto net = small_decoder(be, config);
    net.set_recompute(what);
    auto linear = all_trained(net);
    be.forget();
    net.loss_and_gradient(small_text<Be>(), linear);
    CHECK(be.allocations > before);
    before = be.allocations;
  }
}

// An operator as the contract has it, which lacks what recompute::blocks asks for.
template <class Be>
struct plain_operator {
  base_operator<Be> base;
  void begin(pass_kind p) { base.begin(p); }
  view_of<Be> forward(index_t l, const_view_of<Be> X) { return base.forward(l, X); }
  view_of<Be> backward(index_t l, const_view_of<Be> X, const_view_of<Be> dY, bool need_dx) {
    return base.backward(l, X, dY, need_dx);
  }
  index_t first_trained() const { return 0; }
};
TEST_CASE("decoder: an operator without more than the contract is enough") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  plain_operator<Be> plain{base_operator<Be>(net)};
  const auto batch = small_text<Be>();
  CHECK(net.loss_and_gradient(batch, plain) == net.loss_and_gradient(batch, base));
  net.set_recompute(nn::recompute::blocks);
  CHECK_THROWS_WITH_AS(
      net.loss_and_gradient(batch, plain),
      "preheat: decoder: recompute::blocks needs a linear operator with the members of "
      "operators/layer_uses.hpp",
      invalid_argument);
}

TEST_CASE("decoder: a step makes no matrix once shapes have been seen") {
  using Be = archetype_double;
  std::size_t number = 0;
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    const nn::decoder_config& config = one.config;
    Be be;
    auto net = small_decoder(be, config);
    net.set_recompute(all_recomputes[number++ % 3]);
    net.set_head_chunk(3);
    auto linear = all_trained(net);
    const auto batch = small_text<Be>();
    net.loss_and_gradient(batch, linear);
    net.loss(batch, linear);
    net.forward(batch, linear);
    be.forget();
    net.loss_and_gradient(batch, linear);
    net.loss_and_gradient(sequence_of(batch, 2), linear);
    net.loss(batch, linear);
    net.forward(batch, linear);
    CHECK(be.allocations == 0);
  }
}

TEST_CASE("decoder: the logits of a batch never exist whole") {
  using Be = archetype_double;
  Be be;
  for (const bool tied : {false, true}) {
    nn::decoder_config config = small_llama();
    config.tied_head = tied;
    auto net = small_decoder(be, config);
    net.set_head_chunk(3);
    auto linear = all_trained(net);
    be.forget();
    net.loss_and_gradient(small_text<Be>(), linear);
    net.loss(small_text<Be>(), linear);
    for (const auto& [rows, cols] : be.shapes) {
      CHECK((rows != config.vocab_size || cols <= 3 || cols == config.hidden_size));
    }
    CHECK(be.made(config.vocab_size, 3));
  }
}

TEST_CASE_TEMPLATE("decoder: a copy has linear layers of its own", Be, PREHEAT_ALL_BACKENDS) {
  Be be;
  auto net = small_decoder(be, small_llama());
  auto copy = net.copy();
  base_operator<Be> base(net);
  base_operator<Be> base_of_copy(copy);
  const auto batch = small_text<Be>();
  const table before = read<Be>(be, net.forward(batch, base));
  CHECK(same(read<Be>(be, copy.forward(batch, base_of_copy)), before));
  be.fill(0, copy.layers()[0].W);
  CHECK(same(read<Be>(be, net.forward(batch, base)), before));
  CHECK_FALSE(same(read<Be>(be, copy.forward(batch, base_of_copy)), before));
}

TEST_CASE(
    "decoder: layers have Hugging Face's names, and a tied head has none until it is untied") {
  cpu_double be;
  auto net = small_decoder(be, small_llama());
  CHECK(net.layers().size() == 15);
  CHECK(net.layers()[0].name == "model.layers.0.self_attn.q_proj");
  CHECK(net.layers()[13].name == "model.layers.1.mlp.down_proj");
  CHECK(net.layers()[14].name == "lm_head");
  auto gpt2 = small_decoder(be, small_gpt2());
  CHECK(gpt2.layers().size() == 8);
  CHECK(gpt2.layers()[4].name == "transformer.h.1.attn.c_attn");
  CHECK(gpt2.layers()[7].name == "transformer.h.1.mlp.c_proj");

  auto weights = small_decoder_weights(be, small_gpt2());
  nn::untie_head(be, weights);
  nn::decoder<cpu_double> untied(be, std::move(weights));
  CHECK(untied.layers()[8].name == "lm_head");
  base_operator<cpu_double> base(gpt2);
  base_operator<cpu_double> untied_base(untied);
  const auto batch = small_text<cpu_double>();
  CHECK(gap(read<cpu_double>(be, gpt2.forward(batch, base)),
            read<cpu_double>(be, untied.forward(batch, untied_base))) < 1e-14);
  auto own = small_decoder_weights(be, small_llama());
  CHECK_THROWS_WITH_AS(nn::untie_head(be, own), "preheat: untie_head: the head is tied",
                       invalid_argument);
}

TEST_CASE("decoder: what does not fit is refused with words") {
  using Be = cpu_double;
  Be be;
  auto net = small_decoder(be, small_llama());
  base_operator<Be> base(net);
  const auto refused = [&](auto change, const char* text) {
    auto batch = small_text<Be>();
    change(batch);
    CHECK_THROWS_WITH_AS(net.loss(batch, base), text, invalid_argument);
  };
  using batch_type = nn::causal_batch<Be>;
  refused([](batch_type& b) { b.ids[3] = 11; },
          "preheat: 0 <= id of a token < vocab_size (11, 11)");
  refused([](batch_type& b) { b.ids[3] = -1; },
          "preheat: 0 <= id of a token < vocab_size (-1, 11)");
  refused([](batch_type& b) { b.labels[3] = 11; },
          "preheat: a label is -100 or 0 <= label < vocab_size (11, 11)");
  refused([](batch_type& b) { b.labels[3] = -1; },
          "preheat: a label is -100 or 0 <= label < vocab_size (-1, 11)");
  refused([](batch_type& b) { b.labels.pop_back(); }, "preheat: one label per token (14, 15)");
  refused([](batch_type& b) { b.lengths.pop_back(); },
          "preheat: lengths of the sequences add up to the tokens (13, 15)");
  refused([](batch_type& b) { b.labels.assign(15, nn::not_counted); },
          "preheat: a batch has at least one label that is not -100 after the first token of its "
          "sequence");
  refused([](batch_type& b) { b = {}; }, "preheat: a batch has at least one sequence (0, 1)");
  CHECK_THROWS_WITH_AS(net.forward(batch_type{std::vector<index_t>(41, 1), {}, {41}}, base),
                       "preheat: tokens of a sequence <= max_positions (41, 40)", invalid_argument);

  nn::key_value_cache<Be> cache(be, net.config(), 2);
  const std::vector<index_t> three{1, 2, 3};
  CHECK_THROWS_WITH_AS(net.next_logits(three, cache, base),
                       "preheat: tokens of a text <= capacity of the cache (3, 2)",
                       invalid_argument);

  const auto weights_refused = [&](auto change, const char* text) {
    auto weights = small_decoder_weights(be, small_llama());
    change(weights);
    CHECK_THROWS_WITH_AS(nn::decoder<Be>(be, std::move(weights)), text, invalid_argument);
  };
  using weights_type = nn::decoder_weights<Be>;
  weights_refused([](weights_type& w) { w.layers.pop_back(); },
                  "preheat: linear layers of all blocks, and of an own head (14, 15)");
  weights_refused([&](weights_type& w) { w.layers[1].W = be.zeros(16, 6); },
                  "preheat: model.layers.0.self_attn.k_proj: W: rows as the config says (16, 8)");
  weights_refused([&](weights_type& w) { w.layers[1].b = be.zeros(8, 1); },
                  "preheat: model.layers.0.self_attn.k_proj: b: rows as the config says (8, 0)");
  weights_refused([](weights_type& w) { w.frozen.blocks.pop_back(); },
                  "preheat: norms of every block (1, 2)");
  weights_refused([&](weights_type& w) { w.frozen.norm.beta = be.zeros(6, 1); },
                  "preheat: the last norm.bias: rows as the config says (6, 0)");
  weights_refused([](weights_type& w) { w.config.key_value_heads = 3; },
                  "preheat: heads is a multiple of key_value_heads (4, 3)");
  weights_refused([](weights_type& w) { w.config.head_size = 3; },
                  "preheat: rotary positions: head_size is even (3, 2)");
  weights_refused([](weights_type& w) { w.config.blocks_without_window = {2}; },
                  "preheat: 0 <= a block without window < blocks (2, 2)");
}
