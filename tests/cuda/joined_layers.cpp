// Layers that compute together (operators/joined_layers.hpp) have the numbers of layers that compute one by one.
#include <doctest/doctest.h>

#include <preheat/adapter/lora.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/operators/adapted.hpp>
#include <vector>

#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/small_decoder.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

using Be = cuda_double;
using linear_of = adapted<Be, adapter::lora>;

// Which layers have an adapter, of which rank, and with which scale; rank 0: none.
struct wish {
  index_t rank;
  double scaling;
};
using wishes = wish (*)(index_t layer);

template <class Net>
void attach_all(Net& net, linear_of& linear, wishes of) {
  for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
    const auto& W = net.layers()[std::size_t(l)].W;
    const wish w = of(l);
    if (w.rank > 0) {
      const std::uint64_t seed = 100 + std::uint64_t(l);
      Be be;
      linear.attach(l,
                    {matrix(be, random_table(w.rank, W.cols(), seed)),
                     matrix(be, 0.3 * random_table(W.rows(), w.rank, seed + 50))},
                    w.scaling);
    }
  }
}

// To rounding, which attention with large scores makes larger: gradients here are up to 50.
void check_close(const table& found, const table& wanted) {
  CHECK(gap(found, wanted) <= 1e-10 * (1 + largest(wanted)));
}
// The gradients of all adapters, and these are then changed by them.
void check_step(linear_of& together, linear_of& apart) {
  Be be;
  for (std::size_t l = 0; l < together.layers().size(); ++l) {
    auto& one = together.layers()[l];
    auto& other = apart.layers()[l];
    REQUIRE(one.attached == other.attached);
    if (one.attached) {
      check_close(read<Be>(be, one.gradient.A), read<Be>(be, other.gradient.A));
      check_close(read<Be>(be, one.gradient.B), read<Be>(be, other.gradient.B));
      for (auto* s : {&one, &other}) {
        be.apply(linalg::axpby<double>{-0.001, 1}, s->parameters.A, s->gradient.A);
        be.apply(linalg::axpby<double>{-0.001, 1}, s->parameters.B, s->gradient.B);
      }
    }
  }
}

// Two equal networks, one of whose operators may join layers.
template <class Net>
struct both {
  Net net, other;
  linear_of together{net, {}, layer_products::joined};
  linear_of apart{other};

  template <class Batch>
  void check_pass(const Batch& batch) {
    CHECK(net.loss(batch, together) == doctest::Approx(other.loss(batch, apart)).epsilon(1e-11));
    together.zero_gradients();
    apart.zero_gradients();
    for (int part = 0; part < 2; ++part) {  // gradients add up
      CHECK(net.loss_and_gradient(batch, together) ==
            doctest::Approx(other.loss_and_gradient(batch, apart)).epsilon(1e-11));
    }
    check_step(together, apart);
  }
};
wish every_layer(index_t) {
  return {2, 0.5};
}
wish other_ranks(index_t l) {
  return {1 + l % 3, 0.5};
}
wish some_layers(index_t l) {
  return {l % 3 == 1 ? 0 : 2, 2};
}
wish late_layers(index_t l) {
  return {l < 9 ? 0 : 1, 1};
}
wish other_scales(index_t l) {
  return {2, 1 + double(l)};
}

}  // namespace

TEST_CASE(
    "joined layers: a decoder's loss and gradients, for every option and any choice of adapters") {
  const std::vector<wishes> all{every_layer, other_ranks, some_layers, late_layers, other_scales};
  const auto check = [](const nn::decoder_config& c, wishes of) {
    Be be;
    both<nn::decoder<Be>> two{small_decoder(be, c), small_decoder(be, c)};
    attach_all(two.net, two.together, of);
    attach_all(two.other, two.apart, of);
    two.check_pass(small_text<Be>());
  };
  for (const wishes of : all) {
    check(small_llama(), of);
  }
  std::size_t number = 0;  // every option with one choice
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    check(one.config, all[number++ % all.size()]);
  }
}

TEST_CASE("joined layers: whatever is computed again") {
  for (const nn::recompute what : {nn::recompute::nothing, nn::recompute::blocks}) {
    Be be;
    both<nn::decoder<Be>> two{small_decoder(be, small_llama()), small_decoder(be, small_llama())};
    attach_all(two.net, two.together, other_ranks);
    attach_all(two.other, two.apart, other_ranks);
    two.net.set_recompute(what);
    two.check_pass(small_text<Be>());
  }
}

TEST_CASE(
    "joined layers: an encoder's, with dropout too, with which training computes one by one") {
  Be be;
  using net_type = nn::bert<Be>;
  both<net_type> two{small_encoder<net_type>(be), small_encoder<net_type>(be)};
  attach_all(two.net, two.together, some_layers);
  attach_all(two.other, two.apart, some_layers);
  const auto batch = small_batch(be);
  two.check_pass(batch);
  for (linear_of* linear : {&two.together, &two.apart}) {
    linear->set_dropout(0.25, generator(3));
  }
  two.check_pass(batch);
}

TEST_CASE("joined layers: which are") {
  Be be;
  auto net = small_decoder(be, small_llama());
  linear_of apart(net);
  attach_all(net, apart, every_layer);
  CHECK(!apart.joins(0, 3));

  linear_of linear(net, {}, layer_products::joined);
  CHECK(!linear.joins(0, 3));  // no adapter
  attach_all(net, linear, some_layers);
  CHECK(linear.joins(0, 3));
  CHECK(!linear.joins(1, 1));
  CHECK(!linear.joins(5, 2));  // up and down have different inputs
  linear.set_dropout(0.5, generator(1));
  linear.begin(pass_kind::training);
  CHECK(!linear.joins(0, 3));
  linear.begin(pass_kind::evaluation);
  CHECK(linear.joins(0, 3));
  linear.layers()[2].scaling = 3;
  CHECK(!linear.joins(0, 3));
  CHECK(linear.joins(0, 2));
}

TEST_CASE("joined layers: what they share stays what it is, whoever changes or takes it") {
  Be be;
  both<nn::decoder<Be>> two{small_decoder(be, small_llama()), small_decoder(be, small_llama())};
  attach_all(two.net, two.together, every_layer);
  attach_all(two.other, two.apart, every_layer);
  const auto batch = small_text<Be>();
  two.check_pass(batch);
  for (linear_of* linear : {&two.together, &two.apart}) {  // another rank; merged; new parameters
    auto& net = linear == &two.together ? two.net : two.other;
    const auto fresh = [&](index_t l, index_t rank) {
      const auto& W = net.layers()[std::size_t(l)].W;
      linear->attach(l,
                     {matrix(be, random_table(rank, W.cols(), 7)),
                      matrix(be, random_table(W.rows(), rank, 8))},
                     0.5);
    };
    fresh(0, 3);
    fresh(3, 2);
    linear->merge(2);
    linear->merge(8);
  }
  two.check_pass(batch);
  for (std::size_t l = 0; l < two.net.layers().size(); ++l) {
    check_close(read<Be>(be, two.net.layers()[l].W), read<Be>(be, two.other.layers()[l].W));
  }

  // Two operators of one network take it from each other.
  linear_of second(two.net, {}, layer_products::joined);
  attach_all(two.net, second, other_ranks);
  linear_of expected(two.other);
  attach_all(two.other, expected, other_ranks);
  for (int turn = 0; turn < 2; ++turn) {
    CHECK(two.net.loss(batch, second) ==
          doctest::Approx(two.other.loss(batch, expected)).epsilon(1e-11));
    two.check_pass(batch);
  }
  const auto taken = two.together.take_parameters(1);
  CHECK(taken.B.ld() == two.apart.layers()[1].parameters.B.ld());  // alone in its memory
  check_close(read<Be>(be, taken.A), read<Be>(be, two.apart.layers()[1].parameters.A));
  check_close(read<Be>(be, taken.B), read<Be>(be, two.apart.layers()[1].parameters.B));
}

TEST_CASE("joined layers: misuse is refused") {
  Be be;
  auto net = small_decoder(be, small_llama());
  linear_of linear(net, {}, layer_products::joined);
  attach_all(net, linear, every_layer);
  auto X = be.zeros(6, 2);
  auto narrow = be.zeros(5, 2);
  linear.expect_pass();
  CHECK(refusal([&] { linear.forward_joined(0, 3, const_view_of<Be>(X), 0); }).find("begin") !=
        std::string::npos);
  linear.begin(pass_kind::training);
  CHECK(refusal([&] {
          linear.forward_joined(0, 3, const_view_of<Be>(narrow), 0);
        }).find("features of the input") != std::string::npos);
  linear.begin(pass_kind::training);
  CHECK(refusal([&] {
          linear.backward_joined(0, 3, const_view_of<Be>(X), const_view_of<Be>(X), 0, true,
                                 [](view_of<Be>) {});
        }).find("backward follows a forward") != std::string::npos);
}

TEST_CASE("a part of a matrix shares its entries, and keeps it alive") {
  Be be;
  const table whole = random_table(9, 7, 3);
  auto M = std::make_shared<mat<Be>>(matrix(be, whole));
  mat<Be> part(M, 2, 3, 4, 2);
  CHECK(read<Be>(be, part)(0, 0) == whole(2, 3));
  CHECK(read<Be>(be, part)(3, 1) == whole(5, 4));
  be.fill(5, part);
  CHECK(read<Be>(be, *M)(5, 4) == 5);
  CHECK(read<Be>(be, *M)(6, 4) == whole(6, 4));
  be.resize(part, 4, 2);  // its own shape: still a part
  be.fill(6, part);
  CHECK(read<Be>(be, *M)(2, 3) == 6);
  CHECK(refusal([&] { mat<Be>(M, 6, 0, 4, 1); }) != "(not refused)");
  mat<Be> moved = std::move(part);
  M.reset();
  CHECK(read<Be>(be, moved)(3, 1) == 6);
  be.resize(moved, 5, 2);  // memory of its own
  be.fill(7, moved);
  CHECK(read<Be>(be, moved)(4, 1) == 7);
}
