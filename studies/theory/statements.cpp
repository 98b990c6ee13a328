#include "statements.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace studies::theory {

namespace {

using namespace preheat;

template <parameter_role Trained>
using asymmetric_descent = method<adapter::asymmetric<Trained>, init::orthogonal, optim::sgd>;

// ½‖M − M·AᵀA‖², A with orthonormal rows: what a run that trains B alone ends with.
double projection_loss(const dense& M, const dense& A) {
  return (M - M * A.transpose() * A).squaredNorm() / 2;
}
// How far two row spaces of orthonormal rows are apart: ‖AᵀA − CᵀC‖ (Frobenius).
double distance(const dense& A, const dense& C) {
  return (A.transpose() * A - C.transpose() * C).norm();
}
// The first r right singular vectors of X, as rows.
dense leading_rows(const dense& X, index_t r) {
  be_type be;
  return linalg::truncated_svd<be_type>(be, matrix(X), r).V.eigen().transpose();
}
dense zeros(index_t rows, index_t cols) {
  return dense::Zero(rows, cols);
}
std::vector<double> grid(double from, double to, int points) {
  std::vector<double> x;
  for (int i = 0; i < points; ++i) {
    x.push_back(from + (to - from) * i / (points - 1));
  }
  return x;
}
template <class F>
std::vector<double> mapped(const std::vector<double>& x, F f) {
  std::vector<double> y;
  std::transform(x.begin(), x.end(), std::back_inserter(y), f);
  return y;
}
constexpr const char* sampling = "three standard errors";

}  // namespace

// -------------------------------------------------- one factor frozen: everything in closed form

void asymmetric_flow(const settings& s, results& out) {
  const target t = make_target("exponential", s.m, s.n, 1);
  const dense A = random_rows(s.r, s.n, 1);
  const dense B = haar(s.m, s.r, generator(2));
  const double rest_right = projection_loss(t.M, A);
  const double rest_left = projection_loss(t.M.transpose(), B.transpose());
  const double all = t.square() / 2;
  const auto right = [&](double time) {
    return rest_right + std::exp(-2 * time) * (all - rest_right);
  };
  const auto left = [&](double time) {
    return rest_left + std::exp(-2 * time) * (all - rest_left);
  };
  double worst_right = 0;
  double worst_left = 0;
  double worst_B = 0;
  std::vector<double> measured;
  const std::vector<double> times = grid(0.25, 4, 16);
  for (const double time : times) {
    const auto b = integrate({t.M, false, true}, {zeros(s.m, s.r), A}, time);
    const auto a = integrate({t.M, true, false}, {B, zeros(s.r, s.n)}, time);
    worst_right = std::max(worst_right, std::abs(b.loss(t.M) - right(time)));
    worst_left = std::max(worst_left, std::abs(a.loss(t.M) - left(time)));
    const dense exact = (1 - std::exp(-time)) * t.M * A.transpose();
    worst_B = std::max(worst_B, (b.B - exact).cwiseAbs().maxCoeff());
    measured.push_back(b.loss(t.M));
  }
  out.checks.push_back({"A frozen: the path of B (largest error over time)",
                        "B(t) = (1 − e^−t)·M·Aᵀ", 0, worst_B, 1e-6});
  out.checks.push_back({"A frozen: the loss over time (largest error)",
                        "½‖M(I−AᵀA)‖² + ½e^−2t‖MAᵀA‖²", 0, worst_right, 1e-6});
  out.checks.push_back({"B frozen: the loss over time (largest error)",
                        "½‖(I−BBᵀ)M‖² + ½e^−2t‖BBᵀM‖²", 0, worst_left, 1e-6});

  // The library's own run, with its own draw of A.
  const index_t steps = 1000;
  const double rate = 0.001;
  be_type be;
  nn::least_squares<be_type> net(be, be.zeros(s.m, s.n), matrix(t.M));
  auto batches = net.batches();
  const auto report = fit(asymmetric_descent<parameter_role::B>{.optim = {.lr = rate}}, net,
                          batches, {.rank = s.r, .steps = steps, .scaling = scaling::constant(1)});
  const auto& p = report.layers[0].parameters;
  const double descent = pair_of_factors{p.B.eigen(), p.A.eigen()}.loss(t.M);
  const double rest = projection_loss(t.M, p.A.eigen());
  out.checks.push_back(
      {"gradient descent, 1000 steps of 0.001 (library)", "½‖M(I−AᵀA)‖² + ½(1−η)^2k‖MAᵀA‖²",
       rest + std::pow(1 - rate, 2.0 * double(steps)) * (all - rest), descent, 1e-9});
  const auto flow = integrate({t.M, false, true}, {zeros(s.m, s.r), p.A.eigen()}, 1);
  out.checks.push_back({"gradient descent against Runge–Kutta at t = 1", "they agree as η → 0",
                        flow.loss(t.M), descent, 1e-3, relation::equal, "η = 0.001"});

  const std::vector<double> fine = grid(0, 4, 81);
  out.figures.push_back(
      {"flow", "A frozen at random: closed form", true, fine, mapped(fine, right), {}});
  out.figures.push_back({"flow", "A frozen at random: Runge–Kutta", false, times, measured, {}});
}

// ------------------------------------------------------------- what random starts end with

void random_start(const settings& s, results& out) {
  const target t = make_target("exponential", s.m, s.n, 1);
  const int draws = 5 * s.draws;
  std::vector<double> losses;
  for (int i = 0; i < draws; ++i) {
    losses.push_back(projection_loss(t.M, random_rows(s.r, s.n, std::uint64_t(i))));
  }
  const moments seen = moments_of(losses);
  const double n = double(s.n);
  const double r = double(s.r);
  const double mean = (1 - r / n) * t.square() / 2;
  // Var tr(PS) of a uniform projector P of rank r, S = MᵀM, for the loss ½(‖M‖² − tr(PS)).
  const double spread = t.sigma.array().pow(4).sum() - t.square() * t.square() / n;
  const double variance = r * (n - r) / (2 * n * (n - 1) * (n + 2)) * spread;
  double fourth = 0;
  for (const double x : losses) {
    fourth += std::pow(x - seen.mean, 4) / draws;
  }
  const double variance_error = std::sqrt((fourth - seen.variance * seen.variance) / draws);
  out.checks.push_back({fmt::format("random A: mean final loss over {} draws", draws),
                        "½(1 − r/n)‖M‖²", mean, seen.mean, 3 * seen.standard_error, relation::equal,
                        sampling});
  out.checks.push_back({"random A: variance of the final loss",
                        "r(n−r)(Σσ⁴ − (Σσ²)²/n) / (2n(n−1)(n+2))", variance, seen.variance,
                        3 * variance_error, relation::equal, sampling});
  out.checks.push_back({"random A: the best of all draws", "≥ ½Σ_{i>r}σ_i²", t.tail(s.r) / 2,
                        *std::min_element(losses.begin(), losses.end()), 0, relation::at_least});

  constexpr int bins = 40;
  const auto [least, most] = std::minmax_element(losses.begin(), losses.end());
  std::vector<double> count(bins, 0);
  for (const double x : losses) {
    count[std::size_t(std::min<double>(bins - 1, (x - *least) / (*most - *least) * bins))] +=
        1.0 / draws;
  }
  const double width = (*most - *least) / bins;
  const double top = *std::max_element(count.begin(), count.end());
  out.figures.push_back({"random",
                         "share of random starts",
                         false,
                         grid(*least + width / 2, *most - width / 2, bins),
                         count,
                         {}});
  out.figures.push_back({"random", "½(1 − r/n)‖M‖²", true, {mean, mean}, {0, top}, {}});
  const double floor = t.tail(s.r) / 2;
  out.figures.push_back({"random", "floor ½Σ_{i>r}σ_i²", true, {floor, floor}, {0, top}, {}});
}

// ----------------------------------------------------------------- the exact directions

void exact_start(const settings& s, results& out) {
  const target t = make_target("exponential", s.m, s.n, 1);
  const dense A = t.V.leftCols(s.r).transpose();
  const double floor = t.tail(s.r) / 2;
  const double all = t.square() / 2;
  const auto end = integrate({t.M, false, true}, {zeros(s.m, s.r), A}, 20);
  out.checks.push_back(
      {"A = V_rᵀ frozen: final loss", "½Σ_{i>r}σ_i² (Eckart–Young)", floor, end.loss(t.M), 1e-9});
  const auto later = integrate({t.M, false, true}, {zeros(s.m, s.r), A}, 3);
  out.checks.push_back({"A = V_rᵀ frozen: excess at t = 3 over that at 0", "e^−2t", std::exp(-6),
                        (later.loss(t.M) - floor) / (all - floor), 1e-6});

  // Both factors trained: every mode p = σ-component of B·A follows p' = √(1 + 4p²)·(σ − p).
  const auto mode = [&](double time) {
    const auto x = integrate({t.M, true, true}, {zeros(s.m, s.r), A}, time, 1e-13);
    const dense U_r = t.M * t.V.col(s.r - 1) / t.sigma(s.r - 1);
    return t.sigma(s.r - 1) - (U_r.transpose() * x.B * x.A * t.V.col(s.r - 1))(0, 0);
  };
  const double sigma = t.sigma(s.r - 1);
  out.checks.push_back({"classic from A = V_rᵀ: rate of the slowest mode, t = 10 to 11",
                        "√(1 + 4σ_r²)", std::sqrt(1 + 4 * sigma * sigma),
                        std::log(mode(10) / mode(11)), 1e-3});
  const auto balanced = integrate({t.M, true, true}, {zeros(s.m, s.r), A}, 5);
  const dense moved =
      balanced.B.transpose() * balanced.B - balanced.A * balanced.A.transpose() + A * A.transpose();
  out.checks.push_back({"classic: BᵀB − AAᵀ does not move (largest entry)", "constant in t", 0,
                        moved.cwiseAbs().maxCoeff(), 1e-6});

  const std::vector<double> times = grid(0, 4, 41);
  out.figures.push_back(
      {"flow",
       "A frozen at V_rᵀ: floor + e^−2t·excess",
       true,
       times,
       mapped(times, [&](double x) { return floor + std::exp(-2 * x) * (all - floor); }),
       {}});
  const std::vector<double> points = grid(0.25, 4, 16);
  out.figures.push_back(
      {"flow",
       "A frozen at V_rᵀ: Runge–Kutta",
       false,
       points,
       mapped(points,
              [&](double x) {
                return integrate({t.M, false, true}, {zeros(s.m, s.r), A}, x).loss(t.M);
              }),
       {}});
  out.figures.push_back(
      {"flow",
       "classic from V_rᵀ: Runge–Kutta",
       false,
       points,
       mapped(points,
              [&](double x) {
                return integrate({t.M, true, true}, {zeros(s.m, s.r), A}, x).loss(t.M);
              }),
       {}});
}

// -------------------------------------------------------------------------- HRP's directions

void preheated_start(const settings& s, results& out) {
  const int draws = s.draws / 4;
  for (const char* spectrum : {"exponential", "polynomial", "flat"}) {
    const target t = make_target(spectrum, s.m, s.n, 1);
    const double floor = t.tail(s.r) / 2;
    const double random = (1 - double(s.r) / double(s.n)) * t.square() / 2;
    const std::vector<index_t> ranks = {s.r, s.r + 2, 2 * s.r, 3 * s.r, 4 * s.r, 6 * s.r, s.m};
    std::vector<double> x, gap, error, bound;
    double before = random;
    bool falls = true;
    for (const index_t R : ranks) {
      std::vector<double> losses, uncut;
      for (int i = 0; i < draws; ++i) {
        // Train A from zero with B frozen: A(T) = (1 − e^−T)·BᵀM, whose directions do not depend on T.
        const dense sketch = haar(s.m, R, generator(5000 + std::uint64_t(i))).transpose() * t.M;
        losses.push_back(projection_loss(t.M, leading_rows(sketch, s.r)));
        uncut.push_back(2 * projection_loss(t.M, leading_rows(sketch, std::min(R, s.n))));
      }
      const moments seen = moments_of(losses);
      falls = falls && seen.mean <= before + 3 * seen.standard_error + 1e-9;
      before = seen.mean;
      x.push_back(double(R));
      gap.push_back(seen.mean);
      error.push_back(2 * seen.standard_error);
      const moments whole = moments_of(uncut);
      if (R == 4 * s.r) {
        const double k = double(s.r);
        out.checks.push_back(
            {fmt::format("{}: what R = {} preheated directions leave of ‖M‖²", spectrum, R),
             "≤ (1 + k/(R−k−1))·Σ_{i>k}σ_i², k = r", (1 + k / (double(R) - k - 1)) * t.tail(s.r),
             whole.mean, 3 * whole.standard_error, relation::at_most, sampling});
      }
    }
    out.checks.push_back({fmt::format("{}: preheating rank R = m", spectrum),
                          "the floor ½Σ_{i>r}σ_i²", floor, gap.back(), 1e-9});
    out.checks.push_back({fmt::format("{}: the loss never rises with R (1: true)", spectrum),
                          "random ≥ R = r ≥ … ≥ R = m", 1, falls ? 1.0 : 0.0, 0, relation::equal,
                          sampling});
    const std::string figure = std::string("rank_") + spectrum;
    out.figures.push_back({figure, "HRP, mean and two standard errors", false, x, gap, error});
    out.figures.push_back(
        {figure, "random ½(1 − r/n)‖M‖²", true, {x.front(), x.back()}, {random, random}, {}});
    out.figures.push_back(
        {figure, "floor ½Σ_{i>r}σ_i²", true, {x.front(), x.back()}, {floor, floor}, {}});
  }

  // The flow itself, at two times.
  const target t = make_target("exponential", s.m, s.n, 1);
  const dense B = haar(s.m, 4 * s.r, generator(7));
  const auto early = integrate({t.M, true, false}, {B, zeros(4 * s.r, s.n)}, 0.05);
  const auto late = integrate({t.M, true, false}, {B, zeros(4 * s.r, s.n)}, 5);
  out.checks.push_back(
      {"train A: directions at T = 0.05 and at T = 5, distance", "A(T) = (1 − e^−T)·BᵀM: the same",
       0, distance(leading_rows(early.B * early.A, s.r), leading_rows(late.B * late.A, s.r)),
       1e-6});

  // Classic preheating does depend on its length: both sides, by the flow.
  const int few = std::max(8, s.draws / 25);
  std::vector<double> times = {0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4};
  std::vector<double> right, left;
  for (const double time : times) {
    double sum_right = 0;
    double sum_left = 0;
    for (int i = 0; i < few; ++i) {
      be_type be;
      const matrix W = be.zeros(s.m, 4 * s.r);
      const dense A = linalg::uniform(be, 4 * s.r, s.n, 1 / std::sqrt(double(s.n)),
                                      generator(8000 + std::uint64_t(i)))
                          .eigen();
      const auto x = integrate({t.M, true, true}, {zeros(s.m, 4 * s.r), A}, time, 1e-8);
      const dense product = x.B * x.A;
      sum_right += projection_loss(t.M, leading_rows(product, s.r));
      sum_left += projection_loss(t.M.transpose(), leading_rows(product.transpose(), s.r));
    }
    right.push_back(sum_right / few);
    left.push_back(sum_left / few);
  }
  const double floor = t.tail(s.r) / 2;
  out.figures.push_back({"time", "classic, right side", false, times, right, {}});
  out.figures.push_back({"time", "classic, left side", false, times, left, {}});
  out.figures.push_back(
      {"time", "floor ½Σ_{i>r}σ_i²", true, {times.front(), times.back()}, {floor, floor}, {}});
}

// ------------------------------------------------------------ which side carries the directions

void orientation(const settings& s, results& out) {
  const target t = make_target("exponential", s.m, s.n, 1);
  // Train B with A frozen: B·A = (1 − e^−T)·M·AᵀA has no right vectors but A's own.
  const dense A = random_rows(s.r, s.n, 11);
  const auto x = integrate({t.M, false, true}, {zeros(s.m, s.r), A}, 1);
  out.checks.push_back({"train B at R = r, right side: a run from those directions",
                        "as from the frozen A itself", projection_loss(t.M, A),
                        projection_loss(t.M, leading_rows(x.B * x.A, s.r)), 1e-6});

  const int draws = std::max(8, s.draws / 25);
  const auto mean_loss = [&](auto preheating, singular_side chosen) {
    std::vector<double> losses;
    for (int i = 0; i < draws; ++i) {
      method<init::hrp<decltype(preheating)>, optim::sgd> m;
      m.init.rank = 4 * s.r;
      m.init.steps = 5;
      m.init.side = chosen;
      m.optim.lr = 0.1;
      losses.push_back(left_over(m, t, s.r, 65, std::uint64_t(i)).squaredNorm() / 2);
    }
    return moments_of(losses);
  };
  const auto compare = [&](const std::string& name, const moments& better, const moments& worse) {
    out.checks.push_back({name, "the trained factor's side ends lower", worse.mean, better.mean, 0,
                          relation::at_most, fmt::format("{} draws", draws)});
  };
  compare("train A: right against left, 5 + 60 steps",
          mean_loss(asymmetric_descent<parameter_role::A>{}, singular_side::right),
          mean_loss(asymmetric_descent<parameter_role::A>{}, singular_side::left));
  compare("train B: left against right, 5 + 60 steps",
          mean_loss(asymmetric_descent<parameter_role::B>{}, singular_side::left),
          mean_loss(asymmetric_descent<parameter_role::B>{}, singular_side::right));
}

// ------------------------------------------------------------------------------------- RAC-LoRA

void chain_of_random_starts(const settings& s, results& out) {
  const target t = make_target("polynomial", s.m, s.n, 1);
  const int draws = s.draws / 4;
  const double factor = 1 - double(s.r) / double(s.n);
  std::vector<double> blocks, measured, error;
  for (const index_t T : {1, 2, 4, 8, 16, 24}) {
    std::vector<double> losses;
    for (int i = 0; i < draws; ++i) {
      // One step of rate 1 solves a block: with orthonormal A the problem in B has Hessian I.
      rac_lora m;
      m.optim.base.lr = 1;
      m.chain.period = 1;
      losses.push_back(left_over(m, t, s.r, T, 300 + std::uint64_t(i)).squaredNorm() / 2);
    }
    const moments seen = moments_of(losses);
    blocks.push_back(double(T));
    measured.push_back(seen.mean);
    error.push_back(2 * seen.standard_error);
    if (T == 1 || T == 8 || T == 24) {
      out.checks.push_back(
          {fmt::format("RAC-LoRA after {} solved blocks, mean of {} (library)", T, draws),
           "½(1 − r/n)^T·‖M‖²", std::pow(factor, double(T)) * t.square() / 2, seen.mean,
           3 * seen.standard_error, relation::equal, sampling});
    }
  }
  const std::vector<double> x = grid(0, 24, 97);
  out.figures.push_back({"chain",
                         "½(1 − r/n)^T·‖M‖²",
                         true,
                         x,
                         mapped(x, [&](double T) { return std::pow(factor, T) * t.square() / 2; }),
                         {}});
  out.figures.push_back(
      {"chain", "RAC-LoRA, mean and two standard errors", false, blocks, measured, error});
}

// --------------------------------------------------------------- the one-step limit of preheating

// One step of preheating with a square orthogonal B: A = −η·Bᵀ·G, so B·A = −η·G has the gradient's
// own singular vectors: HRP is then LoRA-One's and LoRA-GA's start, for its directions.
void one_step_limit(const settings& s, results& out) {
  const target t = make_target("polynomial", s.m, s.n, 1);
  be_type be;
  const matrix W = be.zeros(s.m, s.n);
  const target_layer<be_type> where{.W = W, .rank = s.r, .scaling = 1, .gen = generator(1)};
  const dense G = -t.M;  // the gradient at the start
  const dense B = haar(s.m, s.m, generator(21));
  const dense A = -0.1 * B.transpose() * G;
  const auto rows_of = [](const dense& X) {
    const Eigen::HouseholderQR<dense> qr(X.transpose());
    return dense((qr.householderQ() * dense::Identity(X.cols(), X.rows())).transpose());
  };
  const dense hrp =
      rows_of(init::hrp<>{}(be, where, factors<be_type>{matrix(A), matrix(B)}).A.eigen());
  const auto gradient = linalg::truncated_svd<be_type>(be, matrix(G), 2 * s.r);
  const dense one = rows_of(init::lora_one<>{}(be, where, gradient).A.eigen());
  const dense ga = rows_of(init::lora_ga<>{}(be, where, gradient).A.eigen());
  out.checks.push_back({"HRP after one step, R = m, against LoRA-One: distance of the directions",
                        "the same row space", 0, distance(hrp, one), 1e-6});
  out.checks.push_back({"HRP after one step, R = m, against LoRA-GA: distance of the directions",
                        "the same row space", 0, distance(hrp, ga), 1e-6});
}

}  // namespace studies::theory
