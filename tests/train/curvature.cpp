// The curvature in the adapters' parameters on losses whose Hessians are known, and the rate from it.
#include <preheat/adapter/asymmetric.hpp>
#include <preheat/adapter/dora.hpp>
#include <preheat/adapter/full.hpp>
#include <preheat/optim/sgd.hpp>
#include <preheat/train/curvature.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/regressions.hpp"
#include "support/small_problem.hpp"

using namespace conformance;
using namespace preheat;

namespace {

// Eigenvalues of a symmetric table, increasing.
std::vector<double> eigenvalues(const table& H) {
  cpu_double be;
  return read<cpu_double>(be, be.eigh(matrix(be, H)).values).values;
}

// X·Xᵀ/N of the batches' tokens: the Hessian of a regression in a row of W.
table covariance(const regression_data& data, std::size_t l, index_t batches) {
  table C(data.layers[l].X.rows, data.layers[l].X.rows);
  for (index_t k = 0; k < batches; ++k) {
    const auto c = regression_data::batch(k);
    const table X = columns(data.layers[l].X, c.first, c.count);
    C = C + 1.0 / double(c.count * batches) * (X * transposed(X));
  }
  return C;
}

template <class Be>
struct scene {
  regression_data data{{{5, 4}, {6, 7}}};
  Be be{};
  regressions<Be> net{be, data};
  typename regressions<Be>::batches batches{};
};

// The relative error that a difference of gradients leaves: of a quadratic, rounding over ε.
template <class Be>
double bound() {
  return std::is_same_v<scalar_of<Be>, float> ? 2e-3 : 1e-7;
}

}  // namespace

TEST_CASE_TEMPLATE("curvature: of weights in a regression it is that of the inputs", Be,
                   PREHEAT_BACKENDS) {
  scene<Be> s;
  auto run = start_run(method<adapter::full>{}, s.net, s.batches, {.steps = 2});
  for (const index_t batches : {1, 3}) {
    double wanted = 0;
    for (const std::size_t l : {0u, 1u}) {
      // (b is trained too: the input with a 1 below; the regressions have no bias.)
      wanted = std::max(wanted, eigenvalues(covariance(s.data, l, batches)).back());
      const auto one = curvature(s.net, run.adapters, s.batches,
                                 {.batches = batches, .tolerance = 1e-9, .layers = {index_t(l)}});
      const double of_layer = eigenvalues(covariance(s.data, l, batches)).back();
      CHECK(std::abs(one.largest - of_layer) < bound<Be>() * of_layer);
    }
    const auto c =
        curvature(s.net, run.adapters, s.batches, {.batches = batches, .tolerance = 1e-9});
    CHECK(std::abs(c.largest - wanted) < bound<Be>() * wanted);
    CHECK(c.passes == 2 * batches * c.iterations);
    CHECK(c.smallest > -bound<Be>() * wanted);
    CHECK(c.smallest < c.largest);
  }
}

TEST_CASE_TEMPLATE("curvature: of B alone it is s²·A·C·Aᵀ, of A alone s²·λ(BᵀB)·λ(C)", Be,
                   PREHEAT_BACKENDS) {
  const double s = 1.5;
  const fit_options options{.rank = 3, .steps = 2, .scaling = scaling::constant(s)};
  {
    scene<Be> x;
    auto run =
        start_run(method<adapter::asymmetric<parameter_role::B>>{}, x.net, x.batches, options);
    double wanted = 0;
    for (const std::size_t l : {0u, 1u}) {
      const table A = read<Be>(x.be, run.adapters.layers()[l].parameters.A);
      wanted = std::max(wanted,
                        s * s * eigenvalues(A * covariance(x.data, l, 1) * transposed(A)).back());
    }
    const auto c = curvature(x.net, run.adapters, x.batches, {.tolerance = 1e-9});
    CHECK(std::abs(c.largest - wanted) < bound<Be>() * wanted);
  }
  {
    scene<Be> x;
    auto run =
        start_run(method<adapter::asymmetric<parameter_role::A>>{}, x.net, x.batches, options);
    double wanted = 0;
    for (const std::size_t l : {0u, 1u}) {
      const table B = read<Be>(x.be, run.adapters.layers()[l].parameters.B);
      wanted = std::max(wanted, s * s * eigenvalues(transposed(B) * B).back() *
                                    eigenvalues(covariance(x.data, l, 1)).back());
    }
    const auto c = curvature(x.net, run.adapters, x.batches, {.tolerance = 1e-9});
    CHECK(std::abs(c.largest - wanted) < bound<Be>() * wanted);
  }
}

TEST_CASE(
    "curvature: of both factors, against the whole Hessian from differences, saddle included") {
  using Be = cpu_double;
  Be be;
  const index_t m = 4, n = 3, r = 2;
  const double s = 2;
  nn::least_squares<Be> net(be, matrix(be, random_table(m, n, 3)),
                            matrix(be, random_table(m, n, 4)));
  auto data = net.batches();
  auto run =
      start_run(method<>{}, net, data, {.rank = r, .steps = 2, .scaling = scaling::constant(s)});
  auto& p = run.adapters.layers()[0].parameters;  // B = 0: a saddle
  const table A = read<Be>(be, p.A), B = read<Be>(be, p.B);
  const table residual = read<Be>(be, net.layers()[0].W) - random_table(m, n, 4);
  // loss = ½‖R + s·B·A‖²: ∂A = s·Bᵀ·E, ∂B = s·E·Aᵀ, column by column of the Hessian.
  const auto gradient = [&](const table& a, const table& b) {
    const table E = residual + s * (b * a);
    std::vector<double> g = (s * (transposed(b) * E)).values;
    const table gb = s * (E * transposed(a));
    g.insert(g.end(), gb.values.begin(), gb.values.end());
    return g;
  };
  const index_t size = r * (m + n);
  table H(size, size);
  for (index_t j = 0; j < size; ++j) {
    const double h = 1e-5;
    table a = A, b = B;
    double& x = j < r * n ? a.values[j] : b.values[j - r * n];
    x += h;
    const auto up = gradient(a, b);
    x -= 2 * h;
    const auto down = gradient(a, b);
    for (index_t i = 0; i < size; ++i) {
      H(i, j) = (up[i] - down[i]) / (2 * h);
    }
  }
  const auto exact = eigenvalues(0.5 * (H + transposed(H)));
  const auto c = curvature(net, run.adapters, data, {.iterations = 60, .tolerance = 0});
  CHECK(exact.front() < -0.1);
  CHECK(std::abs(c.largest - exact.back()) < 1e-6 * exact.back());
  CHECK(std::abs(c.smallest - exact.front()) < 1e-6 * exact.back());
  CHECK(c.iterations <= size);  // then the space is exhausted
  // Few iterations stay inside the spectrum, and `error` bounds the distance to an eigenvalue.
  for (const index_t k : {1, 2, 4}) {
    const auto few = curvature(net, run.adapters, data, {.iterations = k, .tolerance = 0});
    CHECK(few.iterations == k);
    CHECK(few.largest < exact.back() + 1e-6);
    CHECK(few.smallest > exact.front() - 1e-6);
    double nearest = 1e300;
    for (const double x : exact) {
      nearest = std::min(nearest, std::abs(x - few.largest));
    }
    CHECK(nearest <= few.error + 1e-6);
  }
}

TEST_CASE_TEMPLATE("curvature: a run is bitwise the same with and without it", Be,
                   PREHEAT_BACKENDS) {
  std::vector<double> losses[2];
  for (const bool measured : {false, true}) {
    problem<Be> p;
    auto run = start_run(method<adapter::dora>{}, p.net, p.batches, {.rank = 2, .steps = 5});
    if (measured) {
      const auto c = curvature(p.net, run.adapters, p.batches, {.iterations = 3});
      CHECK(std::isfinite(c.largest));
      CHECK(c.largest > c.smallest);
    }
    losses[measured] = run.run_to_end().losses;
  }
  CHECK(losses[0] == losses[1]);
}

TEST_CASE("curvature: what it refuses") {
  scene<cpu_double> s;
  auto run = start_run(method<>{}, s.net, s.batches, {.rank = 2, .steps = 2});
  const auto refused = [&](const curvature_options& options) {
    CHECK_THROWS_AS(curvature(s.net, run.adapters, s.batches, options), invalid_argument);
  };
  refused({.batches = 0});
  refused({.iterations = 0});
  refused({.step = -1});
  refused({.layers = {7}});
  s.be.fill(std::numeric_limits<double>::quiet_NaN(), s.net.layers()[0].W);
  refused({});
  base_operator<cpu_double> bare(s.net);
  CHECK_THROWS_WITH_AS(curvature(s.net, bare, s.batches),
                       "preheat: the layers have adapters (0, 0)", invalid_argument);
}

TEST_CASE("suggest_rate: inversely to the curvature, or to a power of it") {
  CHECK(suggest_rate({.rate = 1e-3, .curvature = 5}, 5) == 1e-3);
  CHECK(suggest_rate({.rate = 1e-3, .curvature = 5}, 50) == doctest::Approx(1e-4));
  CHECK(suggest_rate({.rate = 1e-3, .curvature = 5}, 500, 0.5) == doctest::Approx(1e-4));
  CHECK_THROWS_AS(suggest_rate({.rate = 0, .curvature = 5}, 5), invalid_argument);
  CHECK_THROWS_AS(suggest_rate({.rate = 1, .curvature = -5}, 5), invalid_argument);
  CHECK_THROWS_AS(suggest_rate({.rate = 1, .curvature = 5}, 0), invalid_argument);
  CHECK_THROWS_AS(suggest_rate({.rate = 1, .curvature = 5}, NAN), invalid_argument);
  // On a quadratic gradient descent diverges just above 2/λ and not below.
  cpu_double be;
  regression_data data({{5, 4}});
  for (const double share : {0.95, 1.05}) {
    regressions<cpu_double> net(be, data);
    struct same_batch {
      void load(const generator&, index_t, column_range& c) const {
        c = regression_data::everything();
      }
    } batches;
    method<adapter::full, optim::sgd> m;
    auto measured = start_run(m, net, batches, {.steps = 2});
    const double lambda = curvature(net, measured.adapters, batches).largest;
    m.optim.lr = suggest_rate({.rate = 2 * share, .curvature = 1}, lambda);
    const auto report = fit(m, net, batches, {.steps = 300});
    CHECK((report.losses.back() > report.losses[100]) == (share > 1));
  }
}
