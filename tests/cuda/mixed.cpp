// Activations in bfloat16 on cuda_mixed<float, cuda_bf16>: each operation is that in float, rounded once; decoders have
// the losses and gradients of the CPU to what rounding allows, joined and one by one, and every adapter trains.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <preheat/cuda/fused_attention.hpp>
#include <preheat/cuda/mixed.hpp>
#include <preheat/gguf/q8_0_block.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/decoder_memory.hpp>
#include <preheat/nn/fused_attention.hpp>
#include <preheat/operators/adapted.hpp>
#include <preheat/operators/recorder.hpp>
#include <preheat/storage/store_weights.hpp>
#include <preheat/train/fit.hpp>
#include <set>

#include "../../kernels/cudnn_shape.hpp"
#include "shared_context.hpp"
#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/small_decoder.hpp"
#include "support/small_encoder.hpp"

using namespace conformance;
using namespace preheat;

namespace {

struct Be : cuda_mixed<float, cuda_bf16> {
  Be() : cuda_mixed<float, cuda_bf16>(made_shared_context()) {}
};
static_assert(rounds_activations<Be> && !rounds_activations<cuda<float, cuda_bf16>>);
static_assert(nn::decoder_backend<Be> && nn::sums_losses<Be> && nn::attends_in_grids<Be>);

constexpr double unit = 0x1p-8;  // of rounding to bfloat16, relative

activations<Be> rounded(Be& be, const table& a) {
  activations<Be> X;
  be.resize(X, a.rows, a.cols);
  be.copy(transpose::no, matrix(be, a), X);
  return X;
}
table widened(Be& be, const_activation_view<Be> X) {
  auto wide = be.zeros(X.rows(), X.cols());
  be.copy(transpose::no, X, wide);
  return read<Be>(be, wide);
}
table rounded_table(Be& be, const table& a) {
  return widened(be, rounded(be, a));
}
// Whether `found` is `wanted`, rounded once.
bool rounded_once(const table& found, const table& wanted) {
  bool all = found.rows == wanted.rows && found.cols == wanted.cols;
  for (std::size_t k = 0; all && k < found.values.size(); ++k) {
    all = std::abs(found.values[k] - wanted.values[k]) <=
          1.0001 * unit * std::abs(wanted.values[k]) + 1e-6;
  }
  return all;
}
table magnitudes(table a) {
  for (double& x : a.values) {
    x = std::abs(x);
  }
  return a;
}

struct third_of_sum {
  template <class V>
  constexpr void operator()(V& x, const V& a, const V& b) const {
    x = (x + a + b) / 3;
  }
};

}  // namespace

TEST_CASE("mixed: elementwise passes and copies compute in float and round once") {
  Be be;
  for (const index_t rows : {1, 7, 8, 24, 300}) {
    const table x = rounded_table(be, random_table(rows, 5, 1));
    const table a = rounded_table(be, random_table(rows, 5, 2));
    const table b = random_table(rows, 5, 3);
    auto X = rounded(be, x);
    be.apply(third_of_sum{}, X, rounded(be, a), matrix(be, b));
    CHECK(rounded_once(widened(be, X), (1.0 / 3) * (x + a + b)));
    be.fill(2, X);
    CHECK(gap(widened(be, X), 2.0 * table(rows, 5, 1)) == 0);
    auto bias = matrix(be, random_table(rows, 1, 4));
    auto Y = matrix(be, x);
    be.add_to_cols(bias, Y);
    X = rounded(be, x);
    be.add_to_cols(bias, X);
    CHECK(rounded_once(widened(be, X), read<Be>(be, Y)));
    auto Z = rounded(be, a);
    be.copy(transpose::no, view(X), Z);
    CHECK(same(widened(be, Z), widened(be, X)));
  }
  auto X = rounded(be, random_table(3, 3, 1));
  CHECK(refusal([&] { be.copy(transpose::yes, view(X), X); }).find("not transposed") !=
        std::string::npos);
}

TEST_CASE("mixed: products sum in float and round once, into parts of a matrix too") {
  Be be;
  for (const index_t k : {0, 1, 9, 130}) {
    for (const transpose ta : {transpose::no, transpose::yes}) {
      for (const transpose tb : {transpose::no, transpose::yes}) {
        const table a = rounded_table(be, random_table(17, k, 2));
        const table b = rounded_table(be, random_table(k, 6, 3));
        const table c = rounded_table(be, random_table(17, 6, 4));
        const auto A = rounded(be, ta == transpose::no ? a : transposed(a));
        const auto B = rounded(be, tb == transpose::no ? b : transposed(b));
        const table wanted = 0.5 * (a * b) + 2.0 * c;
        const table bound =
            (double(k) + 2) * epsilon<Be> * (magnitudes(a) * magnitudes(b) + 2.0 * magnitudes(c));
        auto whole = rounded(be, table(40, 6, 7));
        const auto part = view(whole).row_range(11, 17);
        be.copy(transpose::no, view(rounded(be, c)), part);
        be.gemm(0.5F, ta, A, tb, B, 2, part);
        auto wide = matrix(be, c);
        be.gemm(0.5F, ta, A, tb, B, 2, wide);
        const table found = widened(be, part);
        const table exact = read<Be>(be, wide);
        CHECK(rounded_once(found, exact));
        for (std::size_t i = 0; i < wanted.values.size(); ++i) {
          CHECK(std::abs(exact.values[i] - wanted.values[i]) <= bound.values[i]);
        }
        CHECK(gap(widened(be, view(whole).row_range(0, 11)), table(11, 6, 7)) == 0);
      }
    }
  }
  auto X = rounded(be, random_table(3, 3, 1));
  auto Y = rounded(be, random_table(4, 3, 1));
  CHECK(refusal([&] {
          be.gemm(1, transpose::no, X, transpose::no, Y, 0, X);
        }).find("inner dimensions") != std::string::npos);
}

TEST_CASE("mixed: columns are those of float, rounded once") {
  Be be;
  for (const index_t rows : {2, 6, 24, 300, 1100}) {
    CAPTURE(rows);
    const index_t n = 5;
    const table x = rounded_table(be, 3.0 * random_table(rows, n, 5));
    const table d = rounded_table(be, random_table(rows, n, 6));
    const table e = rounded_table(be, random_table(rows, n, 7));
    const auto gamma = matrix(be, random_table(rows, 1, 8));
    const auto beta = matrix(be, random_table(rows, 1, 9));
    auto r = be.zeros(n, 1);
    auto s = be.zeros(n, 1);
    // f(x, d, e, r): an operation on three matrices of one type; which of them it leaves is compared.
    const auto check = [&](auto f) {
      auto xs = rounded(be, x), ds = rounded(be, d), es = rounded(be, e);
      auto xt = matrix(be, x), dt = matrix(be, d), et = matrix(be, e);
      f(xs, ds, es, r);
      f(xt, dt, et, s);
      CHECK(rounded_once(widened(be, xs), read<Be>(be, xt)));
      CHECK(rounded_once(widened(be, ds), read<Be>(be, dt)));
      CHECK(rounded_once(widened(be, es), read<Be>(be, et)));
      CHECK(gap(read<Be>(be, r), read<Be>(be, s)) <= 1e-5 * (1 + largest(read<Be>(be, s))));
    };
    check([&](auto& a, auto& b, auto& c, auto& t) {
      be.rms_norm(1e-5F, gamma, a, t, b);
      (void)c;
    });
    be.rms_norm(1e-5F, gamma, matrix(be, x), r, matrix(be, d));
    be.copy(transpose::no, r, s);
    check([&](auto& a, auto& b, auto& c, auto& t) { be.rms_norm_gradient(gamma, a, t, b, c); });
    check([&](auto& a, auto&, auto&, auto&) { be.softmax_cols(a); });
    check([&](auto& a, auto& b, auto&, auto&) { be.softmax_cols_gradient(a, b); });
    check([&](auto& a, auto& b, auto&, auto& t) { be.layer_norm_gradient(gamma, a, t, b); });
    if (rows >= n + 1) {
      check([&](auto& a, auto&, auto&, auto&) { be.softmax_cols_causal(1, 3, a); });
      check([&](auto& a, auto&, auto&, auto&) { be.softmax_cols_causal(rows - n, rows, a); });
    }
    const auto labels = matrix(be, table(1, n, 1));
    check([&](auto& a, auto&, auto&, auto&) {
      auto total = be.zeros(1, 1);
      be.add_softmax_cross_entropy(0.25F, a, labels, total);
    });
    if (rows % 2 == 0) {
      const auto c = matrix(be, random_table(rows / 2, n, 10));
      const auto sine = matrix(be, random_table(rows / 2, n, 11));
      check([&](auto& a, auto&, auto&, auto&) { be.turn_heads(-1, c, sine, a); });
    }
    const std::vector<index_t> ids{4, 0, 0, 2, 1};
    check([&](auto& a, auto& b, auto&, auto&) { be.gather_cols(a, ids, b); });
    // What these write last is a function of what they have rounded before.
    auto X = rounded(be, x);
    auto Y = rounded(be, d);
    be.add_rms_norm(1e-5F, gamma, rounded(be, e), X, r, Y);
    CHECK(rounded_once(widened(be, X), x + e));
    auto y = be.zeros(rows, n);
    be.rms_norm(1e-5F, gamma, matrix(be, widened(be, X)), s, y);
    CHECK(rounded_once(widened(be, Y), read<Be>(be, y)));
    X = rounded(be, x);
    be.layer_norm(1e-5F, gamma, beta, X, r, Y);
    auto wide = matrix(be, x);
    be.layer_norm(1e-5F, gamma, beta, wide, s, y);
    CHECK(rounded_once(widened(be, X), read<Be>(be, wide)));
    CHECK(rounded_once(widened(be, Y), read<Be>(be, y)));
  }
}

TEST_CASE("mixed: products of grids of blocks are those of float, rounded once") {
  Be be;
  const index_t n = 4, d = 3;
  const grid_steps heads{2, 3, d, 0, n};      // below each other, then side by side
  const grid_steps pairs{2, 3, 0, n, 2 * n};  // all side by side
  const table q = rounded_table(be, random_table(2 * d, 3 * n, 11));
  const table k = rounded_table(be, random_table(2 * d, 3 * n, 12));
  const table old = rounded_table(be, random_table(n, 6 * n, 13));
  // Parts of larger matrices, whose other rows stay.
  const auto framed = [&](const table& inside) {
    auto whole = rounded(be, table(inside.rows + 5, inside.cols, 7));
    be.copy(transpose::no, view(rounded(be, inside)), view(whole).row_range(2, inside.rows));
    return whole;
  };
  const auto Q = framed(q), K = framed(k);
  auto P = framed(old), C = framed(table(2 * d, 3 * n));
  const auto features = [&](const activations<Be>& x) {
    return grid_of(const_activation_view<Be>(x).row_range(2, 2 * d), d, n, heads);
  };
  const auto wide_features = [&](const mat<Be>& x) {
    return grid_of(const_view_of<Be>(x), d, n, heads);
  };
  const auto Qt = matrix(be, q), Kt = matrix(be, k);
  auto Pt = matrix(be, old), Ct = be.zeros(2 * d, 3 * n);
  be.gemm_grid(2, transpose::yes, features(K), transpose::no, features(Q), -1,
               grid_of(view(P).row_range(2, n), n, n, pairs));
  be.gemm_grid(2, transpose::yes, wide_features(Kt), transpose::no, wide_features(Qt), -1,
               grid_of(view(Pt), n, n, pairs));
  const table p = widened(be, view(P).row_range(2, n));
  CHECK(rounded_once(p, read<Be>(be, Pt)));
  be.gemm_grid(1, transpose::no, features(Q), transpose::yes,
               grid_of(const_activation_view<Be>(P).row_range(2, n), n, n, pairs), 0,
               grid_of(view(C).row_range(2, 2 * d), d, n, heads));
  be.gemm_grid(1, transpose::no, wide_features(Qt), transpose::yes,
               grid_of(const_view_of<Be>(matrix(be, p)), n, n, pairs), 0,
               grid_of(view(Ct), d, n, heads));
  CHECK(rounded_once(widened(be, view(C).row_range(2, 2 * d)), read<Be>(be, Ct)));
  for (const activations<Be>* x : {&P, &C}) {
    CHECK(gap(widened(be, const_activation_view<Be>(*x).row_range(0, 2)), table(2, x->cols(), 7)) ==
          0);
    CHECK(gap(widened(be, const_activation_view<Be>(*x).row_range(x->rows() - 3, 3)),
              table(3, x->cols(), 7)) == 0);
  }
}

TEST_CASE("mixed: a group with room has the numbers of one without, in fewer passes") {
  Be be;
  const index_t m = 24, n = 16, r = 3, tokens = 37;
  const auto wave = [](index_t rows, index_t cols, double step) {
    table t(rows, cols, 0);
    for (std::size_t k = 0; k < t.values.size(); ++k) {
      t.values[k] = std::sin(step * double(k + 1));
    }
    return t;
  };
  weight_of<Be> W(be.store(matrix(be, wave(m, n, 0.7))));
  auto bias = matrix(be, wave(m, 1, 0.3));
  adapter::lora::params<Be> factors{matrix(be, wave(r, n, 1.1)), matrix(be, wave(m, r, 1.3))};
  const auto run = [&](index_t room) {
    adapter::lora::params<Be> gradient{be.zeros(r, n), be.zeros(m, r)};
    bordered_group<Be> group(0);
    const std::vector<bordered_group<Be>::member> members{{&W, &bias, &factors, &gradient}};
    group.gather(be, 0.5F, members);
    activations<Be> X, dY, Y, dX;
    be.resize(X, n + r, tokens);
    be.resize(dY, m + r, tokens);
    be.copy(transpose::no, matrix(be, wave(n + r, tokens, 0.11)), X);
    be.copy(transpose::no, matrix(be, wave(m + r, tokens, 0.13)), dY);
    const table y = widened(be, group.forward(be, 0.5F, view(X).row_range(0, n), room, Y));
    const table dx =
        widened(be, group.backward(be, 0.5F, view(X).row_range(0, n), view(dY).row_range(0, m),
                                   room, Y, dX, true, [](activation_view<Be>) {}));
    return std::vector<table>{y, dx, read<Be>(be, gradient.A), read<Be>(be, gradient.B)};
  };
  const auto folded = run(r);
  const auto apart = run(0);
  for (std::size_t k = 0; k < folded.size(); ++k) {
    CAPTURE(k);
    CHECK(gap(folded[k], apart[k]) <= 4 * unit * largest(apart[k]));
    CHECK(largest(apart[k]) > 0);
  }
}

namespace {

// Packed, and the same numbers in bf16.
struct both_ways {
  weight_of<Be> packed, dense;
  both_ways(Be& be, weight_of<Be> W) : packed(std::move(W)) {
    weight_of<Be> wide = clone(be, packed);
    wide.make_dense(be);
    dense = weight_of<Be>(be.store(wide));
  }
};

weight_of<Be> as_nf4(Be& be, const table& w) {
  const storage::nf4_rows codes(
      stored_matrix(std::make_shared<const storage::host_rows<double>>(w.values, w.rows, w.cols)));
  std::vector<float> scales;
  return weight_of<Be>(be.store(codes.coded(scales)));
}

// Of whole blocks of 32 columns.
weight_of<Be> as_q8_0(Be& be, const table& w) {
  std::vector<gguf::detail::q8_0_block> blocks;
  for (index_t i = 0; i < w.rows; ++i) {
    for (index_t first = 0; first < w.cols; first += 32) {
      std::array<float, 32> entries;
      for (index_t j = 0; j < 32; ++j) {
        entries[std::size_t(j)] = float(w(i, first + j));
      }
      blocks.push_back(gguf::detail::pack_q8_0(entries.data()));
    }
  }
  return weight_of<Be>(
      be.store(block_matrix<gguf::detail::q8_0_block>{w.rows, w.cols, blocks, "Q8_0"}));
}

// Two groups of an operator, of other shapes, the first of two layers of which one may be in bf16: results of a pass.
std::vector<table> pass_of_two_groups(Be& be, std::vector<weight_of<Be>*> W, bool room,
                                      const std::shared_ptr<activations<Be>>& scratch) {
  struct layer {
    adapter::lora::params<Be> factors, gradient;
    mat<Be> bias;
  };
  std::vector<layer> layers;
  std::vector<bordered_group<Be>::member> members;
  for (std::size_t k = 0; k < W.size(); ++k) {
    const index_t m = W[k]->rows(), n = W[k]->cols(), r = index_t(k) + 1;
    layers.push_back(
        {{matrix(be, random_table(r, n, 60 + k)), matrix(be, random_table(m, r, 70 + k))},
         {be.zeros(r, n), be.zeros(m, r)},
         matrix(be, random_table(m, 1, 80 + k))});
  }
  for (std::size_t k = 0; k < W.size(); ++k) {
    members.push_back({W[k], &layers[k].bias, &layers[k].factors, &layers[k].gradient});
  }
  const index_t tokens = 9;
  struct group {
    std::span<const bordered_group<Be>::member> of;
    index_t m = 0, n = 0, R = 0;
    bordered_group<Be> joined{0};
    activations<Be> X, dY, Y, dX;
  };
  std::vector<group> groups(2);
  groups[0].of = std::span(members).first(2);
  groups[1].of = std::span(members).last(1);
  std::vector<table> all;
  for (group& g : groups) {
    g.n = g.of.front().W->cols();
    for (const auto& one : g.of) {
      g.m += one.W->rows();
      g.R += one.rank();
    }
    g.X = rounded(be, random_table(g.n + g.R, tokens, 90));
    g.dY = rounded(be, random_table(g.m + g.R, tokens, 91));
    g.joined.gather(be, 0.5F, g.of, scratch);
    all.push_back(
        widened(be, g.joined.forward(be, 0.5F, view(g.X).row_range(0, g.n), room ? g.R : 0, g.Y)));
  }
  for (group& g : groups) {
    g.joined.gather(be, 0.5F, g.of, scratch);
    all.push_back(widened(
        be, g.joined.backward(be, 0.5F, view(g.X).row_range(0, g.n), view(g.dY).row_range(0, g.m),
                              room ? g.R : 0, g.Y, g.dX, true, [](activation_view<Be>) {})));
  }
  for (const layer& one : layers) {
    all.push_back(read<Be>(be, one.gradient.A));
    all.push_back(read<Be>(be, one.gradient.B));
  }
  return all;
}

}  // namespace

TEST_CASE("mixed: groups of packed weights have the bits of bf16 weights of the same numbers") {
  Be be;
  for (const index_t n : {16, 64, 65, 131}) {
    CAPTURE(n);
    const bool blocks = n % 32 == 0;
    const auto first_group = blocks ? as_q8_0 : as_nf4;
    both_ways q(be, first_group(be, random_table(24, n, 50)));
    both_ways k(be, first_group(be, random_table(7, n, 51)));
    both_ways o(be, as_nf4(be, random_table(n + 3, 24, 52)));
    CHECK(q.packed.stored().type_name() == (blocks ? "Q8_0" : "NF4"));
    for (const bool room : {false, true}) {
      const auto scratch = std::make_shared<activations<Be>>();
      const auto packed = pass_of_two_groups(be, {&q.packed, &k.packed, &o.packed}, room, scratch);
      // The scratch is in the shape of the group that computed last, o with its border.
      CHECK(scratch->rows() == n + 3 + 3);
      CHECK(scratch->cols() == 24 + 3);
      const auto some = pass_of_two_groups(be, {&q.packed, &k.dense, &o.packed}, room, scratch);
      const auto dense = pass_of_two_groups(be, {&q.dense, &k.dense, &o.dense}, room, nullptr);
      REQUIRE(packed.size() == dense.size());
      for (std::size_t i = 0; i < dense.size(); ++i) {
        CAPTURE(i);
        CHECK(same(packed[i], dense[i]));
        CHECK(same(some[i], dense[i]));
        CHECK(largest(dense[i]) > 0);
      }
    }
  }
  both_ways w(be, as_nf4(be, random_table(5, 4, 53)));
  auto X = rounded(be, random_table(4, 5, 1));
  CHECK(refusal([&] { be.unpack(w.packed.stored(), X); }).find("x has the shape of W (4, 5)") !=
        std::string::npos);
}

namespace {

using linear_of = adapted<Be, adapter::lora>;

// A network with weights in bf16, and the CPU's with the same rounded weights, embedding too.
template <class Net, class Reference>
void store_in_both(Be& be, Net& net, cpu_double& host, Reference& reference) {
  storage::store_weights(net, weight_storage::bf16);
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    auto copy = clone(be, net.layers()[l].W);
    copy.make_dense(be);
    write<cpu_double>(host, read<Be>(be, copy), reference.layers()[l].W);
  }
}
template <class B, template <class> class Attention = nn::causal_attention>
nn::decoder<B, Attention> decoder_of(B& be, Be& rounding, const nn::decoder_config& c) {
  auto w = small_decoder_weights(be, c);
  write<B>(be, rounded_table(rounding, read<B>(be, w.frozen.words)), w.frozen.words);
  return {be, std::move(w)};
}
template <class Linear, class Net>
void attach_all(Net& net, Linear& linear) {
  using B = typename Net::backend_type;
  for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
    const auto& W = net.layers()[std::size_t(l)].W;
    const std::uint64_t seed = 100 + std::uint64_t(l);
    B be;
    linear.attach(l,
                  {matrix(be, 0.3 * random_table(2, W.cols(), seed)),
                   matrix(be, 0.3 * random_table(W.rows(), 2, seed + 50))},
                  0.5);
  }
}
// Of the gradients of all factors, ‖found − wanted‖/‖wanted‖.
template <class Found, class Wanted>
double gradient_error(const Found& found, const Wanted& wanted) {
  using B = std::remove_cvref_t<decltype(found.backend())>;
  using W = std::remove_cvref_t<decltype(wanted.backend())>;
  B be;
  W other;
  double error = 0, size = 0;
  const auto add = [&](const table& a, const table& b) {
    for (std::size_t k = 0; k < a.values.size(); ++k) {
      error += std::pow(a.values[k] - b.values[k], 2);
      size += std::pow(b.values[k], 2);
    }
  };
  for (std::size_t l = 0; l < found.layers().size(); ++l) {
    add(read<B>(be, found.layers()[l].gradient.A), read<W>(other, wanted.layers()[l].gradient.A));
    add(read<B>(be, found.layers()[l].gradient.B), read<W>(other, wanted.layers()[l].gradient.B));
  }
  return std::sqrt(error / size);
}
template <class B>
struct one_text {
  nn::causal_batch<B> batch = small_text<B>();
  void load(const generator&, index_t, nn::causal_batch<B>& to) const { to = batch; }
};

}  // namespace

TEST_CASE("mixed: a decoder's loss and gradients are the CPU's, joined and one by one") {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    Be be;
    cpu_double host;
    auto net = decoder_of(be, be, one.config);
    auto apart = decoder_of(be, be, one.config);
    auto reference = decoder_of(host, be, one.config);
    store_in_both(be, net, host, reference);
    storage::store_weights(apart, weight_storage::bf16);
    linear_of joined{net, {}, layer_products::joined}, single{apart};
    adapted<cpu_double, adapter::lora> exact{reference};
    attach_all(net, joined);
    attach_all(apart, single);
    attach_all(reference, exact);
    const auto batch = small_text<Be>();
    const double wanted = reference.loss_and_gradient(small_text<cpu_double>(), exact);
    std::vector<nn::recompute> all{nn::recompute::norms_and_gates};
    if (one.name == "llama") {
      all = {nn::recompute::nothing, nn::recompute::norms_and_gates, nn::recompute::blocks};
    }
    for (const nn::recompute what : all) {
      net.set_recompute(what);
      apart.set_recompute(what);
      joined.zero_gradients();
      single.zero_gradients();
      CHECK(std::abs(net.loss_and_gradient(batch, joined) - wanted) < 4 * unit * wanted);
      CHECK(std::abs(apart.loss_and_gradient(batch, single) - wanted) < 4 * unit * wanted);
      CHECK(gradient_error(joined, exact) < 0.1);
      CHECK(gradient_error(single, exact) < 0.1);
    }
    CHECK(std::abs(net.loss(batch, joined) - wanted) < 4 * unit * wanted);
    const table logits = read<Be>(be, net.forward(batch, joined));
    const table exact_logits =
        read<cpu_double>(host, reference.forward(small_text<cpu_double>(), exact));
    CHECK(gap(logits, exact_logits) < 16 * unit * largest(exact_logits));
  }
}

namespace {

template <class Head>
void check_encoder() {
  Be be;
  cpu_double host;
  auto net = small_encoder<nn::bert<Be, Head>>(be);
  auto apart = small_encoder<nn::bert<Be, Head>>(be);
  auto reference = small_encoder<nn::bert<cpu_double, Head>>(host);
  store_in_both(be, net, host, reference);
  storage::store_weights(apart, weight_storage::bf16);
  linear_of joined{net, {}, layer_products::joined}, single{apart};
  adapted<cpu_double, adapter::lora> exact{reference};
  attach_all(net, joined);
  attach_all(apart, single);
  attach_all(reference, exact);
  const auto batch = small_batch(be);
  const auto same_batch = small_batch(host);
  const double wanted = reference.loss_and_gradient(same_batch, exact);
  CHECK(std::abs(net.loss_and_gradient(batch, joined) - wanted) < 4 * unit * wanted);
  CHECK(std::abs(apart.loss_and_gradient(batch, single) - wanted) < 4 * unit * wanted);
  CHECK(gradient_error(joined, exact) < 0.05);
  CHECK(gradient_error(single, exact) < 0.05);
  const table W = read<cpu_double>(host, reference.head().gradient.W);
  CHECK(gap(read<Be>(be, net.head().gradient.W), W) < 8 * unit * largest(W));
  CHECK(std::abs(net.loss(batch, joined) - wanted) < 4 * unit * wanted);
  const table states = widened(be, net.hidden_states().back());
  CHECK(gap(states, read<cpu_double>(host, reference.hidden_states().back())) <
        8 * unit * largest(states));
}

}  // namespace

TEST_CASE("mixed: an encoder's loss and gradients are the CPU's, its head's too") {
  check_encoder<nn::mean_pool_head>();
  check_encoder<nn::cls_head>();
}

TEST_CASE(
    "mixed: a run over NF4 has the losses of a run over bf16 of the same numbers, to the bit") {
  Be be;
  const auto run = [&](bool coded) {
    auto net = decoder_of(be, be, small_llama());
    storage::store_weights(net, weight_storage::nf4);
    const std::size_t bytes = net.layers()[0].W.bytes();
    if (!coded) {
      for (auto& layer : net.layers()) {
        layer.W.make_dense(be);
      }
      storage::store_weights(net, weight_storage::bf16);
    }
    one_text<Be> data;
    const auto losses = fit(lora{.optim = {.lr = 0.01}}, net, data, {.rank = 2, .steps = 4}).losses;
    CHECK((net.layers()[0].W.bytes() == bytes) == coded);  // codes stay codes
    return losses;
  };
  const auto found = run(true);
  CHECK(found == run(false));
  CHECK(found.back() < found.front());
}

TEST_CASE("mixed: runs of adapters that join layers and of others learn as on the CPU") {
  const auto check = [](auto method_of) {
    Be be;
    cpu_double host;
    auto net = decoder_of(be, be, small_llama());
    auto reference = decoder_of(host, be, small_llama());
    store_in_both(be, net, host, reference);
    one_text<Be> data;
    one_text<cpu_double> same_data;
    const fit_options options{.rank = 2, .steps = 8};
    const auto found = fit(method_of, net, data, options).losses;
    const auto wanted = fit(method_of, reference, same_data, options).losses;
    for (std::size_t k = 0; k < found.size(); ++k) {
      CHECK(std::abs(found[k] - wanted[k]) < 16 * unit * wanted[0]);
    }
    CHECK(found.back() < found.front());
  };
  check(lora{.optim = {.lr = 0.01}});
  check(method<adapter::dora>{.optim = {.lr = 0.01}});
  check(hrp<>{.optim = {.lr = 0.01}});
}

namespace {

template <template <class> class Attention>
void check_text_goes_on(const nn::decoder_config& c) {
  Be be;
  auto net = decoder_of<Be, Attention>(be, be, c);
  base_operator<Be> linear(net);
  const std::vector<index_t> ids{1, 5, 2, 7, 3};
  nn::causal_batch<Be> batch;
  batch.ids = ids;
  batch.lengths = {5};
  const table all = read<Be>(be, net.forward(batch, linear));
  nn::key_value_cache<Be> cache(be, net.config(), 8);
  net.next_logits(std::span(ids).first(3), cache, linear);
  net.next_logits(std::span(ids).subspan(3, 1), cache, linear);
  const table last = read<Be>(be, net.next_logits(std::span(ids).last(1), cache, linear));
  for (index_t i = 0; i < last.rows; ++i) {
    CHECK(std::abs(last(i, 0) - all(i, 4)) <= 8 * unit * largest(all));
  }
}

}  // namespace

TEST_CASE("mixed: a text goes on from its cache, and its logits are those of the whole") {
  check_text_goes_on<nn::causal_attention>(small_llama());
}

// A device has the kernels where preheat::cudnn is, the double always: a plain loop.
#if defined(PREHEAT_CUDA_DOUBLE) || defined(PREHEAT_CUDNN)
namespace {

template <class B>
using fused = nn::fused_attention<B, cuda_fused_attention>;

// The kernels take columns that begin at multiples of 8 numbers: those of a matrix of 256
// rows or more.
nn::decoder_config fused_llama() {
  nn::decoder_config c = small_llama();
  c.heads = 16;
  c.key_value_heads = 8;
  c.head_size = 16;
  return c;
}

}  // namespace

TEST_CASE("fused attention: a text goes on from its cache") {
  check_text_goes_on<fused>(fused_llama());
}

TEST_CASE("fused attention: a decoder has the CPU's loss and gradients") {
  for (const int option : {0, 1, 2}) {
    CAPTURE(option);
    nn::decoder_config c = fused_llama();
    c.window = option == 1 ? 2 : 0;
    c.qk_norm = option == 2;
    Be be;
    cpu_double host;
    auto net = decoder_of<Be, fused>(be, be, c);
    auto reference = decoder_of(host, be, c);
    store_in_both(be, net, host, reference);
    linear_of joined{net, {}, layer_products::joined};
    adapted<cpu_double, adapter::lora> exact{reference};
    attach_all(net, joined);
    attach_all(reference, exact);
    const double wanted = reference.loss_and_gradient(small_text<cpu_double>(), exact);
    for (const nn::recompute what : {nn::recompute::norms_and_gates, nn::recompute::blocks}) {
      net.set_recompute(what);
      joined.zero_gradients();
      CHECK(std::abs(net.loss_and_gradient(small_text<Be>(), joined) - wanted) < 4 * unit * wanted);
      CHECK(gradient_error(joined, exact) < 0.1);
    }
  }
}

#if defined(PREHEAT_CUDA_DOUBLE)  // it counts what is alive; a device gives its pool whole blocks
TEST_CASE("fused attention: a pass takes less memory, by as much as memory_of says") {
  const std::vector<index_t> ids(96, 3);
  const auto bytes_of_pass = [&]<template <class> class Attention>(const nn::decoder_config& c) {
    Be be;
    auto net = decoder_of<Be, Attention>(be, be, c);
    storage::store_weights(net, weight_storage::bf16);
    linear_of linear{net, {}, layer_products::joined};
    attach_all(net, linear);
    nn::causal_batch<Be> batch;
    batch.ids = ids;
    batch.labels = ids;
    batch.lengths = {96};
    const auto held = [&] {
      be.wait();
      std::size_t left = 0;
      std::size_t all = 0;
      REQUIRE(cudaMemGetInfo(&left, &all) == cudaSuccess);
      return double(all) - double(left);
    };
    const double before = held();
    net.loss_and_gradient(batch, linear);
    return held() - before;
  };
  for (const bool norms : {false, true}) {
    CAPTURE(norms);
    nn::decoder_config c = fused_llama();
    c.qk_norm = norms;
    c.max_positions = 96;
    const auto numbers = [&](bool by_kernels) {
      const std::vector<index_t> lengths{96};
      return nn::memory_of(c, {.lengths = lengths,
                               .predicted = 95,
                               .rank = 2,
                               .workers = c.heads,
                               .fused = by_kernels})
          .all();
    };
    const double products = bytes_of_pass.operator()<nn::causal_attention>(c);
    const double kernels = bytes_of_pass.operator()<fused>(c);
    const double saved = 2 * (numbers(false) - numbers(true));
    CAPTURE(products);
    CAPTURE(kernels);
    CHECK(std::abs(products - kernels - saved) <= 0.02 * products);
    CHECK(std::abs(products - 2 * numbers(false)) <= 0.2 * products);
    CHECK((norms ? saved == 0 : saved > 0.3 * products));
  }
}
#endif

TEST_CASE("fused attention refuses operands that the kernels do not read") {
  Be be;
  const std::vector<index_t> lengths{3, 2};
  auto X = rounded(be, table(64, 5));
  auto C = rounded(be, table(32, 5));
  auto statistics = be.zeros(10, 1);
  cuda_fused_attention attention(be.context());
  const view all(X);
  const auto forward = [&](cuda_fused_attention::shape_type s, auto Q, auto K) {
    return refusal(
        [&] { attention.forward(s, lengths, Q, K, all.row_range(48, 16), C, statistics.data()); });
  };
  const auto Q = all.row_range(0, 32);
  const auto K = all.row_range(32, 16);
  CHECK(forward({2, 1, 16}, Q, K) == "(not refused)");
  CHECK(forward({3, 2, 16}, Q, K).find("multiple of key_value_heads (3, 2)") != std::string::npos);
  CHECK(forward({2, 1, 12}, Q, K).find("head_size is a multiple of 8 (12, 8)") !=
        std::string::npos);
  CHECK(forward({2, 1, 16, -1}, Q, K).find("window >= 0") != std::string::npos);
  CHECK(forward({2, 1, 16}, K, K).find("Q: rows = heads times head_size (16, 32)") !=
        std::string::npos);
  CHECK(forward({2, 1, 16}, Q, K.col_range(0, 4)).find("K: columns = tokens of all") !=
        std::string::npos);
  CHECK(forward({2, 1, 16}, Q, all.row_range(33, 16)).find("K: begins at a multiple of 16 bytes") !=
        std::string::npos);
  const view narrow(Q.data(), 32, 5, 36);
  CHECK(forward({2, 1, 16}, narrow, K).find("Q: leading dimension is a multiple of 8 (36, 8)") !=
        std::string::npos);
  auto other = rounded(be, table(320, 5));
  CHECK(refusal([&] {
          attention.backward({2, 1, 16}, lengths, Q, K, all.row_range(48, 16), C, statistics.data(),
                             C, view(other).row_range(0, 32), view(other).row_range(32, 16),
                             view(other).row_range(48, 16));
        }).find("the gradient's leading dimension is its operand's (320, 64)") !=
        std::string::npos);
  CHECK(refusal([&] {
          (void)cuda_fused_attention::statistics({2, 1, 16}, std::vector<index_t>{3, 0});
        }).find("tokens of a sequence >= 1 (0, 1)") != std::string::npos);
}

TEST_CASE("fused attention: few plans serve all batches, and every plan holds its batch") {
  using namespace by_cudnn;
  const cuda_fused_attention::shape_type llama{32, 8, 128};
  const token_steps forward{6208, 6208, 6208, 4096};
  const token_steps backward{6208, 6208, 6208, 4096, 4160, 6208, 6208, 6208};
  const auto shape = [&](const std::vector<index_t>& lengths, const token_steps& steps) {
    return shape_of_plan(llama, lengths, steps, false);
  };
  CHECK(!shape({256, 256}, forward).packed);
  CHECK(shape({256, 128}, forward).packed);
  CHECK(shape({100, 100}, forward).packed);
  CHECK(shape({256, 256}, forward) != shape({256, 256, 256}, forward));
  std::set<plan_shape> plans;
  for (index_t n = 1; n <= 4096; ++n) {
    const plan_shape p = shape({n, 1}, forward);
    CHECK((p.longest >= n && p.longest % 128 == 0 &&
           p.longest < std::max(129.0, 1.2 * double(n) + 128)));
    CHECK((p.sequences == 2 && p.tokens == 0));
    plans.insert(p);
  }
  CHECK(plans.size() == 24);
  plans.clear();
  for (std::size_t count = 1; count <= 64; ++count) {
    const plan_shape p = shape(std::vector<index_t>(count, 100), forward);
    CHECK((p.sequences >= index_t(count) && double(p.sequences) < 1.13 * double(count) + 1));
    plans.insert(p);
  }
  CHECK(plans.size() == 32);
  // One long text among short ones: backward's sums are of all tokens, which take less memory.
  std::vector<index_t> lengths(33, 100);
  lengths[7] = 4096;
  CHECK(shape(lengths, backward).tokens >= 7296);
  CHECK(shape(lengths, forward).tokens == 0);
  CHECK(shape_of_plan(llama, lengths, backward, true).tokens == 0);
  CHECK(shape({4096, 4095}, backward).tokens == 0);
}
#endif
