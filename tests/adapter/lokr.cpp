// LoKr: how sides of W are cut, ΔW by its formula, gradients by central differences, the start, merging, chains,
// and twenty steps in plain loops.
#include <preheat/adapter/lokr.hpp>

#include "adapter_checks.hpp"
#include "adapter_reference.hpp"

using namespace conformance;
using namespace preheat;

namespace {

table kronecker(const table& K, const table& M) {
  table all(K.rows * M.rows, K.cols * M.cols);
  for (index_t i = 0; i < all.rows; ++i) {
    for (index_t j = 0; j < all.cols; ++j) {
      all(i, j) = K(i / M.rows, j / M.cols) * M(i % M.rows, j % M.cols);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("lokr: sides of W are cut near their roots, or as the factor says, as in PEFT") {
  struct one {
    index_t side, factor, wanted;
  };
  for (const one& c :
       {one{256, 0, 16}, one{128, 0, 8}, one{127, 0, 1}, one{128, 4, 4}, one{12, 5, 3},
        one{16, 8, 8}, one{6, 0, 2}, one{1, 0, 1}, one{768, 0, 24}, one{30, 4, 3}}) {
    CAPTURE(c.side);
    CAPTURE(c.factor);
    CHECK(adapter::lokr{.factor = c.factor}.leading(c.side) == c.wanted);
  }
  CHECK_THROWS_AS(adapter::lokr{.factor = -1}.leading(4), invalid_argument);
}

TEST_CASE_TEMPLATE("lokr: gradients equal differences, sides that are prime included", Be,
                   PREHEAT_BACKENDS) {
  check_adapter<Be, adapter::lokr>();
  for (const double dropout : {0.0, 0.4}) {
    linear_problem<Be> p({{8, 6}, {12, 8}}, {0, 1}, true);
    adapted<Be, adapter::lokr> linear(p.net, {.factor = dropout > 0 ? 4 : 0});
    attach_random(p.be, linear, 0, 3, 82);
    attach_random(p.be, linear, 1, 2, 84);
    linear.set_dropout(dropout, generator(2));
    check_gradients(p, linear);
  }
}

TEST_CASE_TEMPLATE("lokr: the output and merging are the Kronecker product's", Be,
                   PREHEAT_BACKENDS) {
  for (const auto& [m, n] : {std::pair<index_t, index_t>{6, 12}, {12, 8}, {5, 4}}) {
    linear_problem<Be> p({{m, n}}, {0}, true);
    base_layer<Be>& frozen = p.net.layers()[0];
    const table w = read<Be>(p.be, frozen.W);
    adapted<Be, adapter::lokr> linear(p.net);
    attach_random(p.be, linear, 0, 2, 92);
    const tables x = read_trained(p.be, linear.layers()[0].parameters);
    CHECK((x[0].rows * x[2].rows == m && x[0].cols * x[1].cols == n));
    CHECK(rank_of(linear.adapter(), p.be, linear.layers()[0].parameters) == 2);
    const table delta = scaling_value * kronecker(x[0], x[2] * x[1]);
    p.net.loss(p.batch, linear);
    const table wanted =
        (w + delta) * read<Be>(p.be, p.batch.X) + read<Be>(p.be, frozen.b) * table(1, 7, 1);
    CHECK(gap(p.net.output, wanted) < tolerance<Be>(60));
    linear.merge(0);
    CHECK(gap(read<Be>(p.be, frozen.W), w + delta) < tolerance<Be>(10));
  }
}

TEST_CASE_TEMPLATE("lokr: starts without a change, falls, merges, chains", Be, PREHEAT_BACKENDS) {
  check_life_of<Be>(lokr{}, {{8, 6}, {6, 8}}, 2);
  Be be;
  const mat<Be> W = be.zeros(30, 20);
  const auto p = adapter::lokr{}.start(be, {W, {}, 1}, 4, generator(3));
  CHECK(largest(read<Be>(be, p.K)) == 0);
  CHECK(largest(read<Be>(be, p.inner_a)) <= 1 / std::sqrt(5.0) * (1 + epsilon<Be>));
  CHECK(largest(read<Be>(be, p.inner_b)) <= 0.5);
  CHECK(largest(read<Be>(be, p.inner_b)) > 0.4);
  CHECK(trained_size(p) == 5 * 4 + 4 * 5 + 6 * 4);
}

TEST_CASE("reference: LoKr, twenty steps") {
  const double s = 1.3;
  check_adapter_reference(
      lokr{}, {{8, 6}, {6, 8}}, 2, s,
      [&](const table&, const tables& p, const auto&) { return s * kronecker(p[0], p[2] * p[1]); },
      [&](const table&, const tables& p, const table& G, const auto&) -> tables {
        const table M = p[2] * p[1];
        table k(p[0].rows, p[0].cols), e(M.rows, M.cols);
        for (index_t i = 0; i < G.rows; ++i) {
          for (index_t j = 0; j < G.cols; ++j) {
            k(i / M.rows, j / M.cols) += s * G(i, j) * M(i % M.rows, j % M.cols);
            e(i % M.rows, j % M.cols) += s * G(i, j) * p[0](i / M.rows, j / M.cols);
          }
        }
        return {k, transposed(p[2]) * e, e * transposed(p[1])};
      });
}
