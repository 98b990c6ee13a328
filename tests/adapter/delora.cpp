// DeLoRA: ΔW by its formula, gradients by central differences, the bound on its size, the start, merging, and
// twenty steps in plain loops.
#include <preheat/adapter/delora.hpp>

#include "adapter_checks.hpp"
#include "adapter_reference.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// c/λ by the definition, k×1.
std::vector<double> inverse_norms(const table& A, const table& B) {
  std::vector<double> c;
  for (index_t k = 0; k < A.rows; ++k) {
    const double a = std::sqrt(square_norm(rows(A, k, 1)));
    const double b = std::sqrt(square_norm(columns(B, k, 1)));
    c.push_back(1 / (double(A.rows) * std::max(a, 1e-4) * std::max(b, 1e-4)));
  }
  return c;
}
std::vector<double> column_norms(const table& W) {
  std::vector<double> w;
  for (index_t j = 0; j < W.cols; ++j) {
    w.push_back(std::sqrt(square_norm(columns(W, j, 1))));
  }
  return w;
}
// ΔW/s from A, B, λ.
table delta_of(const table& W, const tables& p) {
  return p[2](0, 0) *
         (p[1] * diagonal(inverse_norms(p[0], p[1])) * p[0] * diagonal(column_norms(W)));
}

}  // namespace

TEST_CASE("delora: gradients equal differences, with dropout, bias and shared weights") {
  using Be = cpu_double;
  for (const bool bias : {true, false}) {
    for (const double dropout : {0.0, 0.4}) {
      linear_problem<Be> p({{5, 4}, {6, 5}, {3, 6}}, {0, 1, 2}, bias);
      adapted<Be, adapter::delora> linear(p.net);
      attach_random(p.be, linear, 0, 2, 82);
      attach_random(p.be, linear, 2, 1, 84);
      linear.set_dropout(dropout, generator(2));
      check_gradients(p, linear, 1e-5);
    }
    linear_problem<Be> p({{4, 4}}, {0, 0}, bias);
    adapted<Be, adapter::delora> linear(p.net);
    attach_random(p.be, linear, 0, 2, 86);
    check_gradients(p, linear, 1e-5);
  }
}

TEST_CASE_TEMPLATE("delora: the output, merging and the plain LoRA adapter are the formula's", Be,
                   PREHEAT_BACKENDS) {
  check_merge<Be, adapter::delora>();
  linear_problem<Be> p({{5, 4}}, {0}, true);
  base_layer<Be>& frozen = p.net.layers()[0];
  const table w = read<Be>(p.be, frozen.W);
  adapted<Be, adapter::delora> linear(p.net);
  attach_random(p.be, linear, 0, 3, 92);
  const auto& x = linear.layers()[0].parameters;
  const table delta = scaling_value * delta_of(w, read_trained(p.be, x));
  p.net.loss(p.batch, linear);
  const table wanted =
      (w + delta) * read<Be>(p.be, p.batch.X) + read<Be>(p.be, frozen.b) * table(1, 7, 1);
  CHECK(gap(p.net.output, wanted) < tolerance<Be>(100));
  const factors<Be> plain = linear.adapter().product(p.be, x);
  CHECK(gap(scaling_value * (read<Be>(p.be, plain.B) * read<Be>(p.be, plain.A)), delta) <
        tolerance<Be>(40));
  CHECK(rank_of(linear.adapter(), p.be, x) == 3);
}

TEST_CASE_TEMPLATE("delora: ΔW/w is at most λ large, and no rescaling of a rank changes it", Be,
                   PREHEAT_BACKENDS) {
  Be be;
  const mat<Be> W = matrix(be, random_table(9, 7, 4));
  const frozen_linear<Be> base{W, {}, 1};
  auto p = adapter::delora{.lambda = 0.3}.start(be, base, 3, generator(1));
  write(be, random_table(9, 3, 5), view_of<Be>(p.axes_b));
  const auto change = [&] {
    mat<Be> merged = clone<Be>(be, W);
    adapter::delora{}.merge(be, p, 1, view_of<Be>(merged), {});
    return read<Be>(be, merged) - read<Be>(be, W);
  };
  const table one = change();
  std::vector<double> inverse_w;
  for (const double x : column_norms(read<Be>(be, W))) {
    inverse_w.push_back(1 / x);
  }
  const mat<Be> angles = matrix(be, one * diagonal(inverse_w));
  CHECK(read<Be>(be, be.svd(angles).S)(0, 0) <= 0.3 * (1 + tolerance<Be>(1)));
  be.apply(linalg::scale<scalar_of<Be>>{7}, p.axes_a);
  be.apply(linalg::scale<scalar_of<Be>>{scalar_of<Be>(0.2)}, p.axes_b);
  CHECK(gap(change(), one) < tolerance<Be>(10));
}

TEST_CASE_TEMPLATE("delora: starts at λ = 15, B = 0, without a change, falls, merges, chains", Be,
                   PREHEAT_BACKENDS) {
  check_life_of<Be>(delora{.adapter = {.lambda = 0.5}}, {{9, 7}, {6, 8}}, 2);
  Be be;
  const table w = random_table(9, 7, 4);
  const mat<Be> W = matrix(be, w);
  const auto p = adapter::delora{}.start(be, {W, {}, 1}, 3, generator(1));
  CHECK(read<Be>(be, p.lambda)(0, 0) == 15);
  CHECK(largest(read<Be>(be, p.axes_b)) == 0);
  CHECK(trained_size(p) == 3 * 16 + 1);
  const auto norms = column_norms(w);
  for (index_t j = 0; j < 7; ++j) {
    CHECK(std::abs(read<Be>(be, p.w)(j, 0) - norms[j]) < tolerance<Be>(1));
  }
}

TEST_CASE("reference: DeLoRA, twenty steps") {
  const double s = 1.3;
  check_adapter_reference(
      delora{}, {{9, 7}, {6, 8}}, 3, s,
      [&](const table& W, const tables& p, const auto&) { return s * delta_of(W, p); },
      [&](const table& W, const tables& p, const table& G, const auto&) -> tables {
        const table &A = p[0], &B = p[1];
        const double lambda = p[2](0, 0);
        const table E = s * (G * diagonal(column_norms(W)));  // ∂loss/∂(B·diag(c)·A)
        const auto i = inverse_norms(A, B);
        const table C = lambda * diagonal(i);
        table a = C * transposed(B) * E, b = E * transposed(A) * C, l(1, 1);
        const table inner = transposed(B) * E * transposed(A);
        for (index_t k = 0; k < A.rows; ++k) {
          const double q = inner(k, k), c = lambda * i[k];
          l(0, 0) += q * i[k];
          const double aa = square_norm(rows(A, k, 1)), bb = square_norm(columns(B, k, 1));
          for (index_t j = 0; j < A.cols; ++j) {
            a(k, j) -= q * c / aa * A(k, j);
          }
          for (index_t j = 0; j < B.rows; ++j) {
            b(j, k) -= q * c / bb * B(j, k);
          }
        }
        return {a, b, l};
      });
}
