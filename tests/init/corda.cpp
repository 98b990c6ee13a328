// CorDA: the covariance that it gathers, the parts of W·C' that its factors are, the damping that
// makes every covariance invertible, and whole runs.
#include <preheat/init/corda.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/regressions.hpp"
#include "support/spectrum.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;
using init::corda_mode;

namespace {

using with_corda = method<init::corda>;

template <class Be>
target_layer<Be> target_layer_of(const mat<Be>& W, index_t rank) {
  return {.W = W, .rank = rank, .scaling = scalar_of<Be>(2), .gen = generator(1)};
}
// s·B·A
template <class Be>
table product_of(Be& be, const factors<Be>& f) {
  return 2.0 * read<Be>(be, f.B) * read<Be>(be, f.A);
}
// X·Xᵀ/tokens
table covariance(index_t n, index_t tokens, std::uint64_t seed) {
  const table X = random_table(n, tokens, seed);
  return (1.0 / double(tokens)) * (X * transposed(X));
}
// C + δ·mean(diag C)·I
table damped(const table& C, double delta) {
  return C + (delta * dot(C, identity(C.rows)) / double(C.rows)) * identity(C.rows);
}

}  // namespace

// W·C' = U·S·Vᵀ by the library's SVD of it; the factors as products that know no signs.
TEST_CASE_TEMPLATE("corda: the factors split W times C", Be, PREHEAT_BACKENDS) {
  Be be;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{9, 6}, {6, 9}}) {
    const table w = random_table(m, n, 900);
    const mat<Be> W = matrix(be, w);
    const table c = covariance(n, 30, 901);
    const table c_damped = damped(c, 0.01);
    const svd_result<mat<Be>> d = be.svd(matrix(be, w * c_damped));
    const table U = read<Be>(be, d.U);
    const table V = read<Be>(be, d.V);
    const table S = read<Be>(be, d.S);
    for (const index_t r : {1, 4, 6}) {
      for (const corda_mode mode : {corda_mode::ipm, corda_mode::kpm}) {
        const index_t first = mode == corda_mode::ipm ? 0 : 6 - r;
        const init::corda init{.mode = mode};
        const factors<Be> f = init(be, target_layer_of<Be>(W, r), matrix(be, c));
        CHECK(f.A.rows() == r);
        std::vector<double> sigma;
        for (index_t i = 0; i < r; ++i) {
          sigma.push_back(S(first + i, 0));
        }
        const table u = columns(U, first, r);
        const table v = columns(V, first, r);
        const double bound = tolerance<Be>(n) * 10;
        // s·B·A·C' = U·S·Vᵀ, and S is shared evenly: B·Bᵀ = U·(S/s)·Uᵀ, (A·C')ᵀ·A·C' = V·(S/s)·Vᵀ.
        CHECK(gap(product_of(be, f) * c_damped, u * diagonal(sigma) * transposed(v)) < bound);
        const table B = read<Be>(be, f.B);
        CHECK(gap(B * transposed(B), 0.5 * (u * diagonal(sigma) * transposed(u))) < bound);
        const table AC = read<Be>(be, f.A) * c_damped;
        CHECK(gap(transposed(AC) * AC, 0.5 * (v * diagonal(sigma) * transposed(v))) < bound);
        if (r == 6) {
          CHECK(gap(product_of(be, f), w) < bound);  // all triplets are W
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("corda: with C = I it is pissa and its mirror image", Be, PREHEAT_BACKENDS) {
  Be be;
  const std::vector<double> sigma = geometric(7, 0.6);
  const table w = with_spectrum(10, 7, sigma, 910);
  const mat<Be> W = matrix(be, w);
  const mat<Be> I = matrix(be, identity(7));
  const double bound = tolerance<Be>(7);
  const table pissa = product_of(be, init::pissa{}(be, target_layer_of<Be>(W, 3)));
  const init::corda ipm{};
  const table principal = product_of(be, ipm(be, target_layer_of<Be>(W, 3), I));
  CHECK(gap(principal, pissa) < bound);
  // The last three triplets: what PiSSA of rank four leaves.
  const init::corda kpm{.mode = corda_mode::kpm};
  const table minor = product_of(be, kpm(be, target_layer_of<Be>(W, 3), I));
  CHECK(gap(minor, w - product_of(be, init::pissa{}(be, target_layer_of<Be>(W, 4)))) < bound);
  CHECK(std::abs(square_norm(minor) - tail(sigma, 4)) < bound);
  // Inputs that were all zero say nothing: C counts as I.
  CHECK(
      same(product_of(be, ipm(be, target_layer_of<Be>(W, 3), matrix(be, table(7, 7)))), principal));
}

TEST_CASE_TEMPLATE("corda: the damping grows until the inverse is one", Be, PREHEAT_BACKENDS) {
  Be be;
  const index_t n = 8;
  const table regular = covariance(n, 30, 920);
  const auto plain = init::damp_covariance<Be>(be, matrix(be, regular), 0.01);
  CHECK(gap(read<Be>(be, plain.C), damped(regular, 0.01)) < tolerance<Be>(4));

  // Of rank one, damped by nearly nothing.
  const table one = covariance(n, 1, 921);
  const auto strong = init::damp_covariance<Be>(be, matrix(be, one), 1e-30);
  const table added = read<Be>(be, strong.C) - one;
  const double delta = added(0, 0) / (dot(one, identity(n)) / double(n));
  CHECK(delta > 1e-30);
  CHECK(delta < 0.01);
  CHECK(largest(read<Be>(be, strong.C) * read<Be>(be, strong.inverse) - identity(n)) < 0.06);
  CHECK(gap(added, added(0, 0) * identity(n)) <= tolerance<Be>(1));

  const mat<Be> W = matrix(be, random_table(6, n, 922));
  const factors<Be> f = init::corda{}(be, target_layer_of<Be>(W, 2), matrix(be, one));
  const table weighed = read<Be>(be, W) * damped(one, 0.01);
  const table S = read<Be>(be, be.svd(matrix(be, weighed)).S);
  const double left = square_norm(weighed - product_of(be, f) * damped(one, 0.01));
  double expected = 0;
  for (index_t i = 2; i < 6; ++i) {
    expected += S(i, 0) * S(i, 0);
  }
  CHECK(std::abs(left - expected) < tolerance<Be>(n) * square_norm(S));
}

// Against plain loops: the mean over batches of x·xᵀ, x = X/|max X|, of which the largest entry is
// not the largest magnitude.
TEST_CASE_TEMPLATE("corda: the covariance of the layer inputs", Be, PREHEAT_BACKENDS) {
  Be be;
  regression_data data({{4, 5}, {3, 6}, {4, 4}, {4, 3}, {2, 2}});
  for (double& x : data.layers[1].X.values) {
    x = -0.5 - std::abs(x);  // no positive entry
  }
  data.layers[2].X = table(4, 24);
  data.layers[3].X = mapped(data.layers[3].X, [](double x) { return std::min(x, 0.0); });
  regressions<Be> net(be, data);
  typename regressions<Be>::batches batches;
  const fit_options options{};
  calibration_context<regressions<Be>, typename regressions<Be>::batches> context(
      net, batches, options, {{0, 1, 2, 3}, {1, 1, 1, 1, 0}, {1, 1, 1, 1, 1}}, 0, generator(3));
  const std::vector<mat<Be>> C = init::corda{.batches = 3}.calibrate(context);
  CHECK(context.status == fit_status::completed);
  REQUIRE(C.size() == 5);
  CHECK(C[4].rows() == 0);
  bool told_apart = false;
  for (std::size_t l = 0; l < 4; ++l) {
    const index_t n = data.layers[l].X.rows;
    table expected(n, n);
    for (index_t k = 0; k < 3; ++k) {
      const table X = columns(data.layers[l].X, 6 * k, 6);
      const double peak = std::abs(*std::max_element(X.values.begin(), X.values.end()));
      told_apart = told_apart || peak < largest(X);
      const double most = largest(X) > 0 ? largest(X) : 1;
      const double scale = peak > 0 ? peak : most;
      expected = expected + (1 / (3 * scale * scale)) * (X * transposed(X));
    }
    CHECK(gap(read<Be>(be, C[l]), expected) <= tolerance<Be>(6) * largest(expected));
    CHECK((largest(expected) > 0) == (l != 2));
  }
  CHECK(told_apart);
}

TEST_CASE_TEMPLATE("corda: in a run it is charged and deterministic and leaves the output alone",
                   Be, conformance::cpu_float, conformance::archetype_double) {
  toy_task<Be> untouched;
  const table before = untouched.base_output();
  const auto train = [&](corda_mode mode, double rate, std::uint64_t seed, index_t batch = 8) {
    toy_task<Be> p(batch);
    with_corda m{.init = {.mode = mode, .batches = 3}, .optim = {.lr = rate}};
    auto report = fit(m, p.net, p.data, {.rank = 2, .steps = 8, .seed = seed});
    CHECK(report.status == fit_status::completed);
    CHECK(report.calibration_steps == 3);
    CHECK(report.steps == 5);
    CHECK(report.base_changed);
    CHECK_FALSE(p.weights_are_those_of(untouched));
    if (rate == 0) {
      CHECK(gap(p.adapted_output(report), before) < tolerance<Be>(15) * largest(before));
      merge(p.net, report);
      CHECK(gap(p.base_output(), before) < tolerance<Be>(15) * largest(before));
    }
    return report;
  };
  train(corda_mode::ipm, 0, 5);
  train(corda_mode::kpm, 0, 5);
  train(corda_mode::ipm, 0, 5, 1);  // three tokens: covariances of rank three
  Be be;
  const auto a = train(corda_mode::kpm, 0.01, 5);
  CHECK(same_results(be, a, train(corda_mode::kpm, 0.01, 5)));
  CHECK_FALSE(same_results(be, a, train(corda_mode::kpm, 0.01, 6)));
  CHECK_FALSE(same_results(be, a, train(corda_mode::ipm, 0.01, 5)));
}

TEST_CASE("corda: misuse is refused in words and what is not finite ends the run") {
  using Be = cpu_double;
  Be be;
  const mat<Be> W = matrix(be, random_table(6, 4, 930));
  const auto refused = [&](const init::corda& init, index_t rank, const table& C) {
    return refusal([&] { init(be, target_layer_of<Be>(W, rank), matrix(be, C)); });
  };
  const table I = identity(4);
  CHECK(refused({}, 5, I) == "preheat: init::corda: 1 <= rank <= min(out, in) (5, 4)");
  CHECK(refused({}, 2, identity(6)) ==
        "preheat: init::corda: rows of the covariance = in of W (6, 4)");
  CHECK(refused({}, 2, columns(I, 0, 3)) ==
        "preheat: init::corda: the covariance is square (3, 4)");
  CHECK(refused({.damping = 0}, 2, I) == "preheat: init::corda: damping > 0 (0, 0)");
  CHECK(refused({}, 2, -1.0 * I) ==
        "preheat: init::corda: mean of the covariance's diagonal > 0 (-1, 0)");
  table bad = I;
  bad(1, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK(refused({}, 2, bad) == "preheat: init::corda: the covariance has a NaN or infinite entry");
  table indefinite = 1e-300 * I;
  indefinite(0, 1) = indefinite(1, 0) = 1e300;
  CHECK(refused({}, 2, indefinite) ==
        "preheat: init::corda: no damping makes the covariance invertible");

  toy_task<Be> p;
  fit_options options{.rank = 2, .steps = 20};
  CHECK_THROWS_WITH_AS(fit(with_corda{.init = {.batches = 0}}, p.net, p.data, options),
                       "preheat: init::corda: batches >= 1 (0, 1)", invalid_argument);
  std::atomic<bool> stop = true;
  options.stop = &stop;
  CHECK(fit(with_corda{}, p.net, p.data, options).status == fit_status::interrupted);
  options.stop = nullptr;
  p.net.layers()[0].W.data()[0] = std::numeric_limits<double>::infinity();
  const auto report = fit(with_corda{}, p.net, p.data, options);
  CHECK(report.status == fit_status::non_finite);
  CHECK(report.steps == 0);
}
