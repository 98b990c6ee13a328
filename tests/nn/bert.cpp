// The encoder as a network: gradients of everything against differences, and what it promises.
#include <limits>
#include <tuple>

#include <preheat/adapter/full.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/operators/adapted.hpp>

#include "support/backends.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

template <class Be>
using mean_classifier = nn::bert<Be, nn::mean_pool_head>;
template <class Be>
using cls_classifier = nn::bert<Be, nn::cls_head>;
template <class Be>
using cls_regression = nn::bert<Be, nn::cls_head, nn::mean_squared>;

// Every linear layer trained whole.
template <class Net>
adapted<typename Net::backend_type, adapter::full> all_trained(Net& net) {
  auto& be = net.backend();
  adapted<typename Net::backend_type, adapter::full> linear(net);
  for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
    linear.attach(l, adapter::full{}.start(be, linear.base(l), generator(0)), 1);
  }
  return linear;
}

// All weights and biases of the linear layers and of the head.
template <class Net>
void check_differences(const nn::bert_dropout& rates, const table& target) {
  using Be = typename Net::backend_type;
  Be be;
  auto net = small_encoder<Net>(be);
  net.set_dropout(rates);
  auto batch = small_batch<Be>(be);
  batch.stream = generator(3);
  batch.target = matrix(be, target);
  auto linear = all_trained(net);
  linear.zero_gradients();
  net.loss_and_gradient(batch, linear);
  std::vector<std::pair<mat<Be>*, table>> parts;
  for (auto& adapted_layer : linear.layers()) {
    parts.emplace_back(&adapted_layer.parameters.W, read<Be>(be, adapted_layer.gradient.W));
    parts.emplace_back(&adapted_layer.parameters.b, read<Be>(be, adapted_layer.gradient.b));
  }
  parts.emplace_back(&net.head().parameters.W, read<Be>(be, net.head().gradient.W));
  parts.emplace_back(&net.head().parameters.b, read<Be>(be, net.head().gradient.b));
  double worst = 0;
  for (auto& [parameter, gradient] : parts) {
    // Dropout is on in training passes only.
    const table expected = difference_at<Be>(
        be, [&] { return net.loss_and_gradient(batch, linear); }, *parameter);
    worst = std::max(worst, gap(gradient, expected));
  }
  CHECK(worst < 1e-9);
}

table labels() {
  table t(1, 3);
  t(0, 0) = 2;
  t(0, 2) = 1;
  return t;
}

}  // namespace

TEST_CASE("bert: gradients of every weight and bias equal differences") {
  check_differences<mean_classifier<cpu_double>>({}, labels());
  check_differences<cls_classifier<cpu_double>>({}, labels());
  check_differences<cls_regression<cpu_double>>({}, random_table(small_outputs, 3, 9));
}
TEST_CASE("bert: so they do with dropout everywhere") {
  check_differences<mean_classifier<cpu_double>>({.hidden = 0.2, .attention = 0.3}, labels());
  check_differences<cls_classifier<cpu_double>>({.hidden = 0.2, .attention = 0.3}, labels());
}

TEST_CASE_TEMPLATE("bert: the other backends find the same loss and gradients", Be,
                   PREHEAT_BACKENDS) {
  cpu_double exact_be;
  Be be;
  auto exact = small_encoder<cls_classifier<cpu_double>>(exact_be);
  auto net = small_encoder<cls_classifier<Be>>(be);
  auto exact_lin = all_trained(exact);
  auto linear = all_trained(net);
  const double expected =
      double(exact.loss_and_gradient(small_batch<cpu_double>(exact_be), exact_lin));
  const double found = double(net.loss_and_gradient(small_batch<Be>(be), linear));
  CHECK(found == doctest::Approx(expected).epsilon(tolerance<Be>(16)));
  for (std::size_t l = 0; l < linear.layers().size(); ++l) {
    const table g = read<cpu_double>(exact_be, exact_lin.layers()[l].gradient.W);
    CHECK(gap(read<Be>(be, linear.layers()[l].gradient.W), g) < tolerance<Be>(16) * largest(g));
  }
}

// A sequence does not know what else is in the batch.
TEST_CASE_TEMPLATE("bert: a sequence gives the same output alone and in any company", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  auto net = small_encoder<mean_classifier<Be>>(be);
  base_operator<Be> base(net);
  auto batch = small_batch<Be>(be);
  const table together = read<Be>(be, net.forward(batch, base));
  std::size_t first = 0;
  for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
    nn::token_batch<Be> alone;
    const std::size_t end = first + std::size_t(batch.lengths[s]);
    alone.ids.assign(batch.ids.begin() + long(first), batch.ids.begin() + long(end));
    alone.types.assign(batch.types.begin() + long(first), batch.types.begin() + long(end));
    alone.lengths = {batch.lengths[s]};
    CHECK(gap(read<Be>(be, net.forward(alone, base)), columns(together, index_t(s), 1)) <
          tolerance<Be>(8));
    first = end;
  }
}

// So the mean over processes that have parts of a batch is the batch's.
TEST_CASE("bert: a divisor in place of the number of sequences scales loss and gradients") {
  using Be = cpu_double;
  Be be;
  auto net = small_encoder<cls_classifier<Be>>(be);
  auto linear = all_trained(net);
  auto batch = small_batch<Be>(be);
  const auto pass = [&](double divisor) {
    batch.divisor = divisor;
    linear.zero_gradients();
    be.fill(0, net.head().gradient.W);
    const double loss = net.loss_and_gradient(batch, linear);
    return std::tuple(loss, read<Be>(be, net.head().gradient.W),
                      read<Be>(be, linear.layers()[0].gradient.W));
  };
  const auto [loss, of_head, of_layer] = pass(0);
  const auto [twice, twice_of_head, twice_of_layer] = pass(1.5);  // of three sequences
  CHECK(twice == doctest::Approx(2 * loss));
  CHECK(gap(twice_of_head, 2.0 * of_head) < 1e-14);
  CHECK(gap(twice_of_layer, 2.0 * of_layer) < 1e-14);
  CHECK(std::get<0>(pass(std::numeric_limits<double>::infinity())) == 0);
  batch.divisor = -1;
  CHECK_THROWS_WITH_AS(net.loss(batch, linear), "preheat: divisor of a batch's loss >= 0 (-1, 0)",
                       invalid_argument);
}

TEST_CASE("bert: padded rows pack to the same batch") {
  cpu_double be;
  const auto batch = small_batch<cpu_double>(be);
  const index_t length = 9;
  std::vector<index_t> ids;
  std::vector<index_t> types;
  std::vector<index_t> mask;
  std::size_t t = 0;
  for (const index_t n : batch.lengths) {
    for (index_t k = 0; k < length; ++k) {
      const bool token = k < n;
      mask.push_back(token);
      ids.push_back(token ? batch.ids[t] : 99);
      types.push_back(token ? batch.types[t] : 1);
      t += std::size_t(token);
    }
  }
  nn::token_batch<cpu_double> packed;
  nn::pack<cpu_double>(ids, types, mask, 3, packed);
  CHECK(packed.ids == batch.ids);
  CHECK(packed.types == batch.types);
  CHECK(packed.lengths == batch.lengths);
  nn::pack<cpu_double>(ids, {}, mask, 3, packed);
  CHECK(packed.types.empty());

  const auto refused = [&](std::vector<index_t> wrong, const char* text) {
    CHECK_THROWS_WITH_AS(nn::pack<cpu_double>(ids, types, wrong, 3, packed), text,
                         invalid_argument);
  };
  std::vector<index_t> hole = mask;
  hole[1] = 0;
  refused(hole, "preheat: pack: padding follows the tokens of a sequence (1, 2)");
  std::vector<index_t> two = mask;
  two[0] = 2;
  refused(two, "preheat: pack: a mask is 0 or 1 (2, 1)");
  std::vector<index_t> nothing = mask;
  nothing[length] = 0;
  refused(nothing, "preheat: length of a sequence >= 1 (0, 1)");
  CHECK_THROWS_WITH_AS(nn::pack<cpu_double>(ids, types, mask, 2, packed),
                       "preheat: pack: ids are a multiple of the sequences (27, 2)",
                       invalid_argument);
}

TEST_CASE("bert: embeddings are means of the last states, of length one") {
  cpu_double be;
  auto net = small_encoder<cls_classifier<cpu_double>>(be);
  base_operator<cpu_double> base(net);
  const auto batch = small_batch<cpu_double>(be);
  const table e = read<cpu_double>(be, net.embed(batch, base));
  const table states = read<cpu_double>(be, net.hidden_states().back());
  index_t first = 0;
  for (index_t s = 0; s < 3; ++s) {
    const index_t n = batch.lengths[s];
    const table mean = columns(states, first, n) * table(n, 1, 1 / double(n));
    CHECK(gap(columns(e, s, 1), (1 / std::sqrt(square_norm(mean))) * mean) < 1e-13);
    first += n;
  }
  CHECK(net.hidden_states().size() == 3);
}

// Products of a backward pass with the lowest trained layer l alone attached (by `full`: one for its
// dW), all else frozen: one for dX of each frozen linear layer between l and the head, those of the
// attention, and two of the head (its dW and its dX).
TEST_CASE("bert: frozen layers below the lowest trained one are not differentiated") {
  using Be = archetype_double;
  const index_t blocks = small_config().num_hidden_layers;
  const long per_head = long(small_config().num_attention_heads) * 3;  // sequences
  const long forward = blocks * (6 + 2 * per_head) + 1 /*pooler*/ + 1 /*head*/;
  const auto products = [&](index_t trained) {
    Be be;
    auto net = small_encoder<cls_classifier<Be>>(be);
    adapted<Be, adapter::full> linear(net);
    linear.attach(trained, adapter::full{}.start(be, linear.base(trained), generator(0)), 1);
    const auto batch = small_batch<Be>(be);
    be.forget();
    net.loss_and_gradient(batch, linear);
    return be.calls["gemm"] - forward;
  };
  const long head = 2;
  CHECK(products(12) == head + 1);                        // pooler.dense
  CHECK(products(11) == head + 1 + 1);                    // output.dense of the last block
  CHECK(products(10) == head + 1 + 1 + 1);                // its intermediate.dense
  CHECK(products(9) == head + 1 + 2 + 1);                 // its attention.output.dense
  CHECK(products(8) == head + 1 + 3 + per_head + 1);      // value: dV
  CHECK(products(7) == head + 1 + 3 + 3 * per_head + 1);  // key: dV, dP, dK
  CHECK(products(6) == head + 1 + 3 + 4 * per_head + 1);  // query: and dQ
  const long whole_block = 6 + 4 * per_head;
  CHECK(products(5) == head + 1 + whole_block + 1);
  CHECK(products(0) == head + 1 + whole_block + 3 + 4 * per_head + 1);

  Be be;  // with no adapter at all only the head's gradient is computed
  auto net = small_encoder<cls_classifier<Be>>(be);
  base_operator<Be> base(net);
  const auto batch = small_batch<Be>(be);
  be.forget();
  net.loss_and_gradient(batch, base);
  CHECK(be.calls["gemm"] == forward + 1);
  be.forget();
  net.loss(batch, base);
  CHECK(be.calls["gemm"] == forward);
}

TEST_CASE("bert: a step makes no matrix once shapes have been seen") {
  archetype_double be;
  auto net = small_encoder<mean_classifier<archetype_double>>(be);
  net.set_dropout({.hidden = 0.1, .attention = 0.1});
  adapted<archetype_double, adapter::lora> linear(net);
  for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
    const auto& W = net.layers()[l].W;
    factors<archetype_double> f{matrix(be, random_table(2, W.cols(), 1)), be.zeros(W.rows(), 2)};
    linear.attach(l, adapter::lora{}.start(be, linear.base(l), std::move(f), generator(0)), 1);
  }
  auto batch = small_batch<archetype_double>(be);
  batch.stream = generator(1);
  net.loss_and_gradient(batch, linear);
  be.forget();
  net.loss_and_gradient(batch, linear);
  CHECK(be.allocations == 0);
  net.loss(batch, linear);
  net.forward(batch, linear);
  CHECK(be.allocations == 0);
}

TEST_CASE("bert: dropout is off in evaluation, drawn by the batch's stream in training") {
  cpu_double be;
  auto net = small_encoder<mean_classifier<cpu_double>>(be);
  base_operator<cpu_double> base(net);
  auto batch = small_batch<cpu_double>(be);
  const double plain = net.loss(batch, base);
  CHECK(net.loss_and_gradient(batch, base) == plain);  // off by default
  for (const nn::bert_dropout& rates :
       {nn::bert_dropout{.hidden = 0.2}, nn::bert_dropout{.attention = 0.2}}) {
    net.set_dropout(rates);
    CHECK(net.loss(batch, base) == plain);
    batch.stream = generator(1);
    const double dropped = net.loss_and_gradient(batch, base);
    CHECK(dropped != plain);
    CHECK(net.loss_and_gradient(batch, base) == dropped);
    batch.stream = generator(2);
    CHECK(net.loss_and_gradient(batch, base) != dropped);
  }
  batch.stream.reset();
  CHECK_THROWS_WITH_AS(net.loss_and_gradient(batch, base),
                       "preheat: dropout needs a stream in every batch", invalid_argument);
  CHECK_THROWS_WITH_AS(net.set_dropout({.hidden = 1}), "preheat: 0 <= hidden dropout < 1 (1, 1)",
                       invalid_argument);
}

TEST_CASE_TEMPLATE("bert: a copy has linear layers and a head of its own", Be, PREHEAT_BACKENDS) {
  Be be;
  auto net = small_encoder<cls_classifier<Be>>(be);
  auto copy = net.copy();
  base_operator<Be> base(net);
  base_operator<Be> base_of_copy(copy);
  const auto batch = small_batch<Be>(be);
  const table before = read<Be>(be, net.forward(batch, base));
  CHECK(same(read<Be>(be, copy.forward(batch, base_of_copy)), before));
  net.set_dropout({.hidden = 0.1});
  auto dropping = net.copy();
  base_operator<Be> base_of_dropping(dropping);
  CHECK_THROWS_AS(dropping.loss_and_gradient(batch, base_of_dropping),
                  invalid_argument);  // a stream
  be.fill(0, copy.layers()[0].W);
  be.fill(0, copy.head().parameters.W);
  CHECK(same(read<Be>(be, net.forward(batch, base)), before));
  CHECK_FALSE(same(read<Be>(be, copy.forward(batch, base_of_copy)), before));
}

TEST_CASE("bert: layers have Hugging Face's names") {
  cpu_double be;
  auto pooled = small_encoder<cls_classifier<cpu_double>>(be);
  auto mean = small_encoder<mean_classifier<cpu_double>>(be);
  CHECK(pooled.layers().size() == 13);
  CHECK(pooled.layers()[0].name == "encoder.layer.0.attention.self.query");
  CHECK(pooled.layers()[9].name == "encoder.layer.1.attention.output.dense");
  CHECK(pooled.layers()[11].name == "encoder.layer.1.output.dense");
  CHECK(pooled.layers()[12].name == "pooler.dense");
  CHECK(mean.layers().size() == 12);
}

TEST_CASE("bert: what does not fit is refused with words") {
  using Be = cpu_double;
  Be be;
  auto net = small_encoder<mean_classifier<Be>>(be);
  base_operator<Be> base(net);
  const auto refused = [&](auto change, const char* text) {
    auto batch = small_batch<Be>(be);
    change(batch);
    CHECK_THROWS_WITH_AS(net.loss(batch, base), text, invalid_argument);
  };
  using batch_type = nn::token_batch<Be>;
  refused([](batch_type& b) { b.ids[3] = 13; },
          "preheat: 0 <= id of a token < vocab_size (13, 13)");
  refused([](batch_type& b) { b.ids[3] = -1; },
          "preheat: 0 <= id of a token < vocab_size (-1, 13)");
  refused([](batch_type& b) { b.types[3] = 2; },
          "preheat: 0 <= type of a token < type_vocab_size (2, 2)");
  refused(
      [](batch_type& b) {
        b.lengths = {4, 8};
      },
      "preheat: tokens of a sequence <= max_position_embeddings (8, 7)");
  refused(
      [](batch_type& b) {
        b.lengths = {4, 1, 6};
      },
      "preheat: lengths of the sequences add up to the tokens (11, 12)");
  refused(
      [](batch_type& b) {
        b.lengths = {5, 0, 7};
      },
      "preheat: length of a sequence >= 1 (0, 1)");
  refused([](batch_type& b) { b.types.pop_back(); }, "preheat: one token type per token (11, 12)");
  refused([](batch_type& b) { b = {}; }, "preheat: a batch has at least one sequence (0, 1)");

  const auto weights_refused = [&](auto change, const char* text) {
    auto weights = small_weights<Be>(be);
    auto head = small_head<Be>(be);
    change(weights, head);
    CHECK_THROWS_WITH_AS((cls_classifier<Be>(be, std::move(weights), std::move(head))), text,
                         invalid_argument);
  };
  using weights_type = nn::bert_weights<Be>;
  using head_type = head_params<Be>;
  weights_refused([](weights_type& w, head_type&) { w.pooler.reset(); },
                  "preheat: this head needs pooler.dense, which the weights lack");
  weights_refused([](weights_type& w, head_type&) { w.layers.pop_back(); },
                  "preheat: six linear layers per encoder layer (11, 12)");
  weights_refused(
      [&](weights_type& w, head_type&) { w.layers[4].W = be.zeros(8, 12); },
      "preheat: encoder.layer.0.intermediate.dense: W: rows as the config says (8, 12)");
  weights_refused([](weights_type& w, head_type&) { w.config.num_attention_heads = 3; },
                  "preheat: hidden_size is a multiple of num_attention_heads (8, 3)");
  weights_refused([&](weights_type&, head_type& h) { h.W = be.zeros(3, 7); },
                  "preheat: columns of the head's W = hidden_size (7, 8)");
  weights_refused(
      [&](weights_type& w, head_type&) {
        be.fill(std::numeric_limits<double>::quiet_NaN(), w.layers[2].W);
      },
      "preheat: encoder.layer.0.attention.self.value: W has a NaN or infinite entry");
}
