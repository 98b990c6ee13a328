// PRoLoRA as an adapter: its factors, its output and its gradients against the definition in plain
// loops, at sizes that divide and sizes that do not.
#include <preheat/adapter/prolora.hpp>
#include <preheat/operators/adapted.hpp>
#include <vector>

#include "prolora_tables.hpp"
#include "support/backends.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Everything divides; nothing does; plain ranks; replicas that are cut away whole (5 inputs in 4
// chunks of 2); fewer ranks than replicas, stride 1; one shared rank; no shared rank; no sharing.
const std::vector<prolora_shape> shapes{
    {12, 8, 4, 0, 2, 2}, {7, 10, 5, 0, 3, 2},  {7, 10, 5, 1, 3, 2}, {9, 5, 4, 0, 4, 8},
    {9, 11, 2, 0, 5, 4}, {11, 13, 7, 0, 4, 3}, {6, 7, 3, 2, 3, 2},  {6, 7, 3, 3, 3, 2},
    {6, 7, 3, 0, 1, 1},  {6, 7, 3, 1, 1, 1},   {5, 6, 4, 1, 9, 1},  {8, 9, 6, 0, 3, 5}};

constexpr index_t tokens = 7;
constexpr double s = 1.5;

// The parameters of a layer, filled with random numbers, and the same on tables.
template <class Be>
struct random_layer {
  prolora_shape shape;
  adapter::prolora adapter{shape.share_a, shape.share_b, shape.u};
  Be be{};
  table W = random_table(shape.m, shape.n, 1);
  table bias = random_table(shape.m, 1, 2);
  table A0 = random_table(shape.shared(), shape.chunk_a(), 3);
  table Au = random_table(shape.u, shape.n, 4);
  table B0 = random_table(shape.chunk_b(), shape.shared(), 5);
  table Bu = random_table(shape.m, shape.u, 6);
  table A = whole_a(shape, A0, Au);
  table B = whole_b(shape, B0, Bu);
  adapter::prolora::params<Be> p{matrix(be, A0), matrix(be, Au), matrix(be, B0), matrix(be, Bu)};
};

// Calls f with a layer of every shape.
template <class Be, class F>
void for_each_layer(F f) {
  for (const prolora_shape& shape : shapes) {
    CAPTURE(shape.m);
    CAPTURE(shape.n);
    CAPTURE(shape.r);
    CAPTURE(shape.u);
    CAPTURE(shape.share_a);
    CAPTURE(shape.share_b);
    random_layer<Be> layer{shape};
    f(layer);
  }
}

// What rounding may do to a sum of products of random tables.
template <class Be>
double allowed(const table& value, index_t terms) {
  return tolerance<Be>(terms) * (1 + largest(value));
}

}  // namespace

TEST_CASE_TEMPLATE("prolora: A and B are replicas of the chunks, turned along the ranks and cut",
                   Be, PREHEAT_BACKENDS) {
  for_each_layer<Be>([](random_layer<Be>& l) {
    const factors<Be> f = l.adapter.product(l.be, l.p);
    CHECK(l.adapter.rank(l.p) == l.shape.r);
    CHECK(gap(read<Be>(l.be, f.A), l.A) < epsilon<Be> * 8);  // copies: no arithmetic
    CHECK(gap(read<Be>(l.be, f.B), l.B) < epsilon<Be> * 8);
    CHECK(trained_size(l.p) == l.shape.trained());
  });
}

// Replica i of the ranks 0 1 2 3 in three shares begins at rank i: the stride is 4/3, rounded down;
// in two shares it begins at 2·i; in five, at i. Numbers say where they come from: 10·rank + column.
TEST_CASE("prolora: the turns of a small example are those of the paper") {
  using Be = cpu_double;
  Be be;
  const auto first_row = [&](index_t share, index_t n) {
    const index_t chunk = prolora_shape::rounded_up(n, share);
    table A0(4, chunk);
    for (index_t k = 0; k < 4; ++k) {
      for (index_t j = 0; j < chunk; ++j) {
        A0(k, j) = double(10 * k + j);
      }
    }
    const adapter::prolora::params<Be> p{matrix(be, A0), be.zeros(0, n), be.zeros(3, 4),
                                         be.zeros(3, 0)};
    const table A = read<Be>(be, adapter::prolora{share, 1, 0}.product(be, p).A);
    std::vector<double> row;
    for (index_t j = 0; j < n; ++j) {
      row.push_back(A(0, j));
    }
    return row;
  };
  CHECK(first_row(2, 6) == std::vector<double>{0, 1, 2, 20, 21, 22});
  CHECK(first_row(3, 5) == std::vector<double>{0, 1, 10, 11, 20});
  CHECK(first_row(5, 7) == std::vector<double>{0, 1, 10, 11, 20, 21, 30});
  CHECK(first_row(6, 6) == std::vector<double>{0, 10, 20, 30, 0, 10});
}

TEST_CASE_TEMPLATE("prolora: the output is that of the whole factors", Be, PREHEAT_BACKENDS) {
  for_each_layer<Be>([](random_layer<Be>& l) {
    Be& be = l.be;
    const table X = random_table(l.shape.n, tokens, 7);
    const table adapter_input = random_table(l.shape.n, tokens, 8);
    const mat<Be> W = matrix(be, l.W);
    const mat<Be> x = matrix(be, X);
    const mat<Be> x_branch = matrix(be, adapter_input);
    const mat<Be> b = matrix(be, l.bias);
    for (const bool biased : {true, false}) {
      const frozen_linear<Be> base{W, biased ? const_view_of<Be>(b) : const_view_of<Be>{},
                                   scalar_of<Be>(s)};
      adapter::prolora::saved_activations<Be> saved_activations;
      mat<Be> Y;
      be.resize(Y, l.shape.m, tokens);
      // Twice, for a saved_activations that has been used.
      for (int pass = 0; pass < 2; ++pass) {
        l.adapter.forward(be, l.p, base, layer_input<Be>{x, x_branch}, view_of<Be>(Y),
                          saved_activations);
        const table want = l.W * X + s * (l.B * (l.A * adapter_input)) +
                           double(biased) * (l.bias * table(1, tokens, 1));
        CHECK(gap(read<Be>(be, Y), want) < allowed<Be>(want, l.shape.n + l.shape.r));
      }
    }
  });
}

TEST_CASE_TEMPLATE("prolora: a chunk's gradient is the sum over its replicas, turned back", Be,
                   PREHEAT_BACKENDS) {
  for_each_layer<Be>([](random_layer<Be>& l) {
    Be& be = l.be;
    const table X = random_table(l.shape.n, tokens, 7);
    const table adapter_input = random_table(l.shape.n, tokens, 8);
    const table dY = random_table(l.shape.m, tokens, 9);
    const mat<Be> W = matrix(be, l.W);
    const mat<Be> x = matrix(be, X);
    const mat<Be> x_branch = matrix(be, adapter_input);
    const mat<Be> d = matrix(be, dY);
    const frozen_linear<Be> base{W, {}, scalar_of<Be>(s)};
    adapter::prolora::saved_activations<Be> saved_activations;
    mat<Be> Y;
    be.resize(Y, l.shape.m, tokens);
    const layer_input<Be> input{x, x_branch};
    l.adapter.forward(be, l.p, base, input, view_of<Be>(Y), saved_activations);

    // ∇A = s·Bᵀ·dY·Xᵀ and ∇B = s·dY·(A·X)ᵀ of the whole factors.
    const table G_A = s * (transposed(l.B) * dY * transposed(adapter_input));
    const table G_B = s * (dY * transposed(l.A * adapter_input));
    // Gradients add to what is there; backward without dX gives the same.
    const adapter::prolora::params<Be>& p = l.p;
    adapter::prolora::params<Be> g = zeros_like(be, p);
    mat<Be> dx = be.zeros(l.shape.n, tokens);
    mat<Be> dx_branch = be.zeros(l.shape.n, tokens);
    l.adapter.backward(be, p, base, input, d, g, {dx, dx_branch}, saved_activations);
    l.adapter.backward(be, p, base, input, d, g, {}, saved_activations);
    const double tol = allowed<Be>(G_A, 100) + allowed<Be>(G_B, 100);
    CHECK(gap(read<Be>(be, g.A0), 2.0 * chunk_gradient_a(l.shape, G_A)) < tol);
    CHECK(gap(read<Be>(be, g.Au), 2.0 * plain_rows(l.shape, G_A)) < tol);
    CHECK(gap(read<Be>(be, g.B0), 2.0 * chunk_gradient_b(l.shape, G_B)) < tol);
    CHECK(gap(read<Be>(be, g.Bu), 2.0 * plain_columns(l.shape, G_B)) < tol);
    CHECK(gap(read<Be>(be, dx), transposed(l.W) * dY) < tol);
    CHECK(gap(read<Be>(be, dx_branch), s * (transposed(l.A) * (transposed(l.B) * dY))) < tol);
  });
}

// Shares that are equal and divide the ranks, sizes that divide: block (i, j) of B·A depends on
// i − j alone, because a turn of both factors is no turn of their product.
TEST_CASE_TEMPLATE("prolora: B·A is block-circulant when all divides", Be, PREHEAT_BACKENDS) {
  for (const prolora_shape& shape :
       {prolora_shape{12, 8, 8, 0, 4, 4}, prolora_shape{6, 9, 3, 0, 3, 3}}) {
    random_layer<Be> l{shape};
    const factors<Be> f = l.adapter.product(l.be, l.p);
    const table product = read<Be>(l.be, f.B) * read<Be>(l.be, f.A);
    const index_t share = shape.share_a;
    const auto block = [&](index_t i, index_t j) {
      table t(shape.chunk_b(), shape.chunk_a());
      for (index_t row = 0; row < t.rows; ++row) {
        for (index_t col = 0; col < t.cols; ++col) {
          t(row, col) = product(i % share * t.rows + row, j % share * t.cols + col);
        }
      }
      return t;
    };
    for (index_t i = 0; i < share; ++i) {
      for (index_t j = 0; j < share; ++j) {
        CHECK(gap(block(i, j), block(i + 1, j + 1)) < allowed<Be>(product, shape.r));
      }
    }
    CHECK(gap(block(0, 0), block(1, 0)) > 0.1);
  }
}

TEST_CASE_TEMPLATE("prolora: merging adds s·B·A to W and unmerging takes it away", Be,
                   PREHEAT_BACKENDS) {
  for_each_layer<Be>([](random_layer<Be>& l) {
    mat<Be> W = matrix(l.be, l.W);
    mat<Be> b = matrix(l.be, l.bias);
    const scalar_of<Be> factor = scalar_of<Be>(s);
    merge_into(l.adapter, l.be, l.p, factor, view_of<Be>(W), view_of<Be>(b));
    const table want = l.W + s * (l.B * l.A);
    CHECK(gap(read<Be>(l.be, W), want) < allowed<Be>(want, l.shape.r));
    CHECK(gap(read<Be>(l.be, b), l.bias) < epsilon<Be> * 8);
    merge_into(l.adapter, l.be, l.p, -factor, view_of<Be>(W), view_of<Be>(b));
    CHECK(gap(read<Be>(l.be, W), l.W) < allowed<Be>(want, l.shape.r));
  });
}
