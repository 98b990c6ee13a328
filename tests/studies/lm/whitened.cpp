// HRP in the metric of the layer's input (studies/lm/whitened.hpp).
#include "studies/lm/whitened.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace {

using backend = preheat::cpu<double>;
using preheat::index_t;
using preheat::mat;
using preheat::transpose;

mat<backend> times(backend& be, const mat<backend>& x, transpose t, const mat<backend>& y) {
  return preheat::linalg::product<backend>(be, transpose::no, x, t, y);
}
double square(backend& be, const mat<backend>& x) {
  return be.dot(x, x);
}

TEST_CASE(
    "lm: whitened HRP: uncorrelated activations of the size of random ones, the best rank-r map") {
  backend be;
  const index_t m = 7, n = 9, tokens = 40, R = 5, r = 2;
  const preheat::generator gen(3);
  mat<backend> X = preheat::linalg::normal(be, n, tokens, 1, gen.fork(preheat::purpose::batch));
  std::vector<double> sizes;
  for (index_t i = 0; i < n; ++i) {
    sizes.push_back(std::pow(2.0, 4 - double(i)));
  }
  mat<backend> factor = be.zeros(n, 1);
  be.upload(sizes, factor);
  be.scale_rows(factor, X);
  const auto product = [&] {
    return preheat::factors<backend>{
        preheat::linalg::normal(be, R, n, 1, gen.fork(preheat::purpose::preheat)),
        preheat::linalg::normal(be, m, R, 1, gen.fork(preheat::purpose::split))};
  };
  const preheat::factors<backend> f = product();
  const mat<backend> W = be.zeros(m, n);
  preheat::target_layer<backend> layer{.W = W, .rank = r};

  studies::lm::whitened_hrp<> start;
  start.row_norm = 0.5;
  start.damping = 1e-12;
  const auto whitened = start(be, layer, {product(), times(be, X, transpose::yes, X), tokens});
  CHECK(square(be, whitened.B) == 0);

  const mat<backend> activations = times(be, whitened.A, transpose::no, X);
  const double power = square(be, X) / double(n * tokens);
  const std::vector<double> covariance =
      be.download(times(be, activations, transpose::yes, activations));
  for (index_t i = 0; i < r; ++i) {
    for (index_t j = 0; j < r; ++j) {
      CHECK(covariance[std::size_t(i + r * j)] / double(tokens) / (0.25 * power) ==
            doctest::Approx(i == j).epsilon(1e-8));
    }
  }

  // M = B·A·C⁻¹ maps the inputs; its best map of rank r keeps the first singular values of M·X.
  mat<backend> root = times(be, X, transpose::yes, X);
  REQUIRE(be.cholesky(root));
  mat<backend> At = preheat::linalg::transposed<backend>(be, f.A);
  be.solve_upper(transpose::yes, root, At);
  be.solve_upper(transpose::no, root, At);
  const mat<backend> MX = times(be, times(be, f.B, transpose::yes, At), transpose::no, X);
  const std::vector<double> sigma = be.download(preheat::linalg::truncated_svd(be, MX, m).S);
  const mat<backend> Q = be.qr(preheat::linalg::transposed<backend>(be, activations)).Q;
  double kept = 0;
  for (index_t i = 0; i < r; ++i) {
    kept += sigma[std::size_t(i)] * sigma[std::size_t(i)];
  }
  CHECK(square(be, times(be, MX, transpose::no, Q)) == doctest::Approx(kept));

  // Much damping gives HRP's directions.
  start.damping = 1e12;
  const auto damped = start(be, layer, {product(), times(be, X, transpose::yes, X), tokens});
  preheat::init::hrp<> plain;
  const auto usual = plain(be, layer, f);
  const mat<backend> D = preheat::linalg::transposed<backend>(be, usual.A);
  CHECK(square(be, times(be, damped.A, transpose::no, D)) == doctest::Approx(square(be, damped.A)));

  // An input without any power leaves orthogonal directions.
  const auto without = start(be, layer, {product(), be.zeros(n, n), tokens});
  CHECK(std::isfinite(square(be, without.A)));
  start.damping = 0;
  CHECK_THROWS_WITH_AS(start(be, layer, {product(), be.zeros(n, n), tokens}),
                       "preheat: whitened_hrp: damping > 0 (0, 0)", preheat::invalid_argument);
}

}  // namespace
