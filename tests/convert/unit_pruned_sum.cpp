// Sums of which a part is kept, on numbers small enough to check by hand.
#include <doctest/doctest.h>

#include <cmath>
#include <preheat/convert/pruned_sum.hpp>
#include <vector>

using namespace preheat;

namespace {

const std::vector<double> x = {4, -1, 3, 0, -2, 0.5};
const std::vector<double> y = {-5, -2, 1, 3, 0.25, -4};

std::vector<double> sum(pruning kind, double density, const std::vector<double>& weights,
                        majority sign = majority::total) {
  return pruned_sum<double>({x, y}, weights, {kind, density, sign}, generator(3));
}

}  // namespace

TEST_CASE("magnitude_prune: the largest entries of each, weighted") {
  // Half of x is 4, 3, -2; half of y is -5, 3, -4.
  CHECK(sum(pruning::magnitude_prune, 0.5, {1, 2}) == std::vector<double>{-6, 0, 3, 6, -2, -8});
  CHECK(sum(pruning::magnitude_prune, 1, {1, 1}) == std::vector<double>{-1, -3, 4, 3, -1.75, -3.5});
  // ⌊0.4·6⌋ = 2 are kept.
  CHECK(sum(pruning::magnitude_prune, 0.4, {1, 0}) == std::vector<double>{4, 0, 3, 0, 0, 0});
}

TEST_CASE("ties: the mean of those that have the majority's sign") {
  // Sums of the signs' election: -1, -3, 4, 3, -1.75, -3.5.
  CHECK(sum(pruning::ties, 1, {1, 1}) == std::vector<double>{-5, -1.5, 2, 3, -2, -4});
  CHECK(sum(pruning::ties, 1, {2, 4}) == std::vector<double>{-20, -5, 5, 12, -4, -16});
  // By frequency the first is a draw, which counts as +.
  CHECK(sum(pruning::ties, 1, {1, 1}, majority::frequency) ==
        std::vector<double>{4, -1.5, 2, 3, 0.25, 0.5});
}

TEST_CASE("dare: a part of the entries by chance, divided by the density") {
  const std::vector<double> ones(20'000, 1.0);
  const double weight = 3;
  const auto kept = pruned_sum<double>({ones}, std::span(&weight, 1),
                                       {pruning::dare_linear, 0.25, majority::total}, generator(5));
  double count = 0;
  for (const double v : kept) {
    CHECK((v == 0 || v == 12));
    count += v != 0 ? 1 : 0;
  }
  // Five standard deviations around a quarter.
  CHECK(std::abs(count - 5000) < 5 * std::sqrt(20'000 * 0.25 * 0.75));
  CHECK(sum(pruning::dare_ties, 1, {1, 1}) == sum(pruning::ties, 1, {1, 1}));
  CHECK(sum(pruning::dare_linear, 0.5, {1, 1}) == sum(pruning::dare_linear, 0.5, {1, 1}));
}

TEST_CASE("pruned sums: what is refused") {
  CHECK_THROWS_AS(sum(pruning::ties, 0, {1, 1}), invalid_argument);
  CHECK_THROWS_AS(sum(pruning::ties, NAN, {1, 1}), invalid_argument);
  CHECK_THROWS_AS(sum(pruning::ties, 0.5, {1}), invalid_argument);
  const std::vector<double> weights = {1, 1};
  CHECK_THROWS_AS(pruned_sum<double>({x, {1.0}}, weights, {}, generator(1)), invalid_argument);
}
