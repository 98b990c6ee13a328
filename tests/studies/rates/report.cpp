// What studies/rates computes from runs: best rates by rank, and how well curvature predicts them.
#include "studies/rates/report.hpp"

#include <doctest/doctest.h>

using namespace studies::rates;
using studies::common::run_record;

TEST_CASE("rates: the best rate of every rank, and the loss with that of the least one") {
  std::vector<run_record> runs;
  const auto add = [&](int rank, double rate, double loss) {
    run_record r;
    r.name = "m";
    r.rank = rank;
    r.rate = rate;
    r.validation_loss = loss;
    r.test_accuracy = 1 - loss / 10;
    runs.push_back(r);
  };
  add(4, 0.1, 1), add(4, 0.2, 2);
  add(8, 0.1, 3), add(8, 0.2, 2);
  add(16, 0.2, 5);
  const auto group = [&](std::size_t first, std::size_t count) {
    studies::common::run_group g;
    for (std::size_t i = first; i < first + count; ++i) {
      g.push_back(&runs[i]);
    }
    return g;
  };
  const auto rows = rates_by_rank({group(0, 2), group(2, 2), group(4, 1)});
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].best.rate == 0.1);
  CHECK(rows[1].best.rate == 0.2);
  CHECK(rows[0].with_first_rate.value_or(0) == 1);
  CHECK(rows[1].with_first_rate.value_or(0) == 3);
  CHECK_FALSE(rows[2].with_first_rate.has_value());
  CHECK(rows[1].test_accuracy == doctest::Approx(0.8));
}

TEST_CASE("rates: predicted from the first start; errors leave it out") {
  const std::vector<rate_of_start> starts{{"a", "A", 10, -1, 0.1, false},
                                          {"b", "B", 20, -1, 0.05, false},
                                          {"c", "C", 40, -1, 0.1, false}};
  const prediction p = predict(starts, 1);
  CHECK(p.mean_factor == doctest::Approx(2));  // right for b, a quarter for c
  CHECK(p.worst_factor == doctest::Approx(4));
  CHECK(p.worst == "C");
  const prediction q = same_rate(starts);
  CHECK(q.worst_factor == doctest::Approx(2));
  CHECK(q.worst == "B");
  CHECK(p.rank_correlation == q.rank_correlation);
  CHECK(p.rank_correlation == doctest::Approx(0).epsilon(1e-12));
}
