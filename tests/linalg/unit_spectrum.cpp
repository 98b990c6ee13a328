// What linalg/spectrum.hpp says of singular values, against sums written out.
#include <preheat/linalg/spectrum.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

namespace linalg = preheat::linalg;

namespace {

const std::vector<double> sigma = {4, 2, 1, 0};  // Σσ² = 21
const std::vector<double> zero = {0, 0};
const std::vector<double> none;

}  // namespace

TEST_CASE("spectrum: retained energy and truncation error") {
  CHECK(linalg::retained_energy(sigma, 0) == 0);
  CHECK(linalg::retained_energy(sigma, 1) == doctest::Approx(16.0 / 21));
  CHECK(linalg::retained_energy(sigma, 2) == doctest::Approx(20.0 / 21));
  CHECK(linalg::retained_energy(sigma, 3) == 1);
  CHECK(linalg::retained_energy(sigma, 9) == 1);
  CHECK(linalg::truncation_error(sigma, 0) == 1);
  CHECK(linalg::truncation_error(sigma, 1) == doctest::Approx(std::sqrt(5.0 / 21)));
  CHECK(linalg::truncation_error(sigma, 3) == 0);
  for (const auto& nothing : {zero, none}) {
    CHECK(linalg::retained_energy(nothing, 1) == 1);
    CHECK(linalg::truncation_error(nothing, 1) == 0);
    CHECK(linalg::effective_rank(nothing) == 0);
  }
  CHECK(linalg::energy_share(std::vector<double>{4, 2}, 25) == doctest::Approx(0.8));
  CHECK(linalg::energy_share(std::vector<double>{4, 2}, 19) == 1);  // rounding of the whole
  CHECK(linalg::energy_share(zero, 0) == 1);
}

TEST_CASE("spectrum: squares neither overflow nor underflow") {
  for (const double scale : {1e200, 1e-200}) {
    CAPTURE(scale);
    const std::vector<double> scaled = {4 * scale, 2 * scale, scale};
    CHECK(linalg::retained_energy(scaled, 2) == doctest::Approx(20.0 / 21));
    CHECK(linalg::truncation_error(scaled, 2) == doctest::Approx(std::sqrt(1.0 / 21)));
    CHECK(linalg::rank_for_energy(scaled, 0.9) == 2);
  }
}

TEST_CASE("spectrum: ranks") {
  CHECK(linalg::rank_for_energy(sigma, 16.0 / 21 - 1e-12) == 1);
  CHECK(linalg::rank_for_energy(sigma, 16.0 / 21 + 1e-12) == 2);
  CHECK(linalg::rank_for_energy(sigma, 1) == 3);  // a zero adds nothing
  CHECK(linalg::rank_for_ratio(sigma, 1) == 1);
  CHECK(linalg::rank_for_ratio(sigma, 2) == 2);
  CHECK(linalg::rank_for_ratio(sigma, 1000) == 3);
  CHECK(linalg::numerical_rank(sigma, 1e-7) == 3);
  CHECK(linalg::numerical_rank(std::vector<double>{1, 1e-6, 1e-8}, 1e-7) == 2);
  for (const auto& nothing : {zero, none}) {
    CHECK(linalg::rank_for_energy(nothing, 0.9) == 0);
    CHECK(linalg::rank_for_ratio(nothing, 10) == 0);
    CHECK(linalg::numerical_rank(nothing, 1e-7) == 0);
  }
  CHECK(linalg::effective_rank(std::vector<double>{3, 3, 3}) == doctest::Approx(3));
  CHECK(linalg::effective_rank(std::vector<double>{5, 0, 0}) == doctest::Approx(1));
}

TEST_CASE("spectrum: the rank that a criterion chooses") {
  CHECK(linalg::choose_rank(sigma, {.energy = 0.9}) == 2);
  CHECK(linalg::choose_rank(sigma, {.ratio = 2}) == 2);
  CHECK(linalg::choose_rank(sigma, {.energy = 1, .most = 2}) == 2);
  CHECK(linalg::choose_rank(zero, {.energy = 0.9}) == 1);
  CHECK(linalg::choose_rank(none, {.ratio = 2}) == 1);
  for (const linalg::rank_choice& wrong : {linalg::rank_choice{},
                                           {.energy = 0.5, .ratio = 2},
                                           {.energy = 1.5},
                                           {.energy = -1},
                                           {.ratio = 0.5},
                                           {.ratio = 2, .most = -1}}) {
    CHECK_THROWS_AS(linalg::choose_rank(sigma, wrong), preheat::invalid_argument);
  }
}
