// GraLoRA: the blocks of ΔW by their formula, gradients by central differences, the plain LoRA adapter with
// the same ΔW, the start, and twenty steps in plain loops.
#include <preheat/adapter/gralora.hpp>

#include "adapter_checks.hpp"
#include "adapter_reference.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// B·A of the blocks, m×n, by the definition.
table blocks_of(const table& A, const table& B, index_t k) {
  const index_t r = A.rows, n = A.cols, m = B.rows;
  table delta(m, n);
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      const index_t bi = i / (m / k), bj = j / (n / k);
      for (index_t q = 0; q < r / k; ++q) {
        delta(i, j) += B(i, bj * (r / k) + q) * A(bi * (r / k) + q, j);
      }
    }
  }
  return delta;
}

}  // namespace

TEST_CASE_TEMPLATE("gralora: gradients equal differences, one block and four", Be,
                   PREHEAT_BACKENDS) {
  check_adapter<Be>(adapter::gralora{.blocks = 1});
  check_merge<Be>(adapter::gralora{.blocks = 1});
  for (const bool bias : {true, false}) {
    for (const double dropout : {0.0, 0.4}) {
      linear_problem<Be> p({{4, 6}, {8, 4}, {6, 8}}, {0, 1, 2}, bias);
      adapted<Be, adapter::gralora> linear(p.net);
      attach_random(p.be, linear, 0, 4, 82);
      attach_random(p.be, linear, 2, 2, 84);
      linear.set_dropout(dropout, generator(2));
      check_gradients(p, linear);
    }
    linear_problem<Be> p({{6, 6}}, {0, 0}, bias);  // used twice, three blocks
    adapted<Be, adapter::gralora> linear(p.net, {.blocks = 3});
    attach_random(p.be, linear, 0, 3, 86);
    check_gradients(p, linear);
  }
}

TEST_CASE_TEMPLATE("gralora: the output, merging and the plain LoRA adapter agree with the blocks",
                   Be, PREHEAT_BACKENDS) {
  for (const auto& [k, r] : {std::pair<index_t, index_t>{1, 3}, {2, 4}, {3, 3}}) {
    linear_problem<Be> p({{6, 12}}, {0}, true);
    base_layer<Be>& frozen = p.net.layers()[0];
    const table w = read<Be>(p.be, frozen.W);
    adapted<Be, adapter::gralora> linear(p.net, {.blocks = k});
    attach_random(p.be, linear, 0, r, 92);
    const auto x = clone_params(p.be, linear.layers()[0].parameters);
    const table delta =
        scaling_value * blocks_of(read<Be>(p.be, x.blocks_a), read<Be>(p.be, x.blocks_b), k);
    p.net.loss(p.batch, linear);
    const table wanted =
        (w + delta) * read<Be>(p.be, p.batch.X) + read<Be>(p.be, frozen.b) * table(1, 7, 1);
    CHECK(gap(p.net.output, wanted) < tolerance<Be>(60));
    const factors<Be> plain = linear.adapter().product(p.be, x);
    CHECK(plain.A.rows() == k * r);
    CHECK(gap(scaling_value * (read<Be>(p.be, plain.B) * read<Be>(p.be, plain.A)), delta) <
          tolerance<Be>(20));
    linear.merge(0);
    CHECK(gap(read<Be>(p.be, frozen.W), w + delta) < tolerance<Be>(20));
    CHECK(rank_of(linear.adapter(), p.be, x) == r);
  }
}

TEST_CASE_TEMPLATE("gralora: starts without a change, falls, merges, chains", Be,
                   PREHEAT_BACKENDS) {
  check_life_of<Be>(gralora{}, {{8, 6}, {6, 8}}, 2);
  Be be;
  const mat<Be> W = be.zeros(30, 20);
  const frozen_linear<Be> base{W, {}, 1};
  const auto p = adapter::gralora{}.start(be, base, 8, generator(3));
  const double bound = std::sqrt(2.0 / 20);
  CHECK(largest(read<Be>(be, p.blocks_a)) <= bound * (1 + epsilon<Be>));
  CHECK(largest(read<Be>(be, p.blocks_a)) > 0.9 * bound);
  CHECK(trained_size(p) == 8 * 50);  // LoRA's
  const auto refused = [&](index_t blocks, index_t rank) {
    CHECK_THROWS_AS((adapter::gralora{.blocks = blocks}.start(be, base, rank, generator())),
                    invalid_argument);
  };
  refused(0, 4);
  refused(2, 3);
  refused(4, 4);  // 30 rows
  refused(3, 3);  // 20 columns
}

TEST_CASE("reference: GraLoRA, twenty steps") {
  const double s = 1.3;
  const index_t k = 2;
  check_adapter_reference(
      gralora{}, {{8, 6}, {6, 8}}, 4, s,
      [&](const table&, const tables& p, const auto&) { return s * blocks_of(p[0], p[1], k); },
      [&](const table&, const tables& p, const table& G, const auto&) -> tables {
        const table &A = p[0], &B = p[1];
        table a(A.rows, A.cols), b(B.rows, B.cols);
        const index_t part = A.rows / k;
        for (index_t i = 0; i < B.rows; ++i) {
          for (index_t j = 0; j < A.cols; ++j) {
            const index_t bi = i / (B.rows / k), bj = j / (A.cols / k);
            for (index_t q = 0; q < part; ++q) {
              a(bi * part + q, j) += s * G(i, j) * B(i, bj * part + q);
              b(i, bj * part + q) += s * G(i, j) * A(bi * part + q, j);
            }
          }
        }
        return {a, b};
      });
}
