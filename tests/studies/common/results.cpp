// What studies do with the results of their runs: statistics, the file of runs, the choice of learning
// rates, tables.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "studies/common/results.hpp"
#include "studies/common/selection.hpp"
#include "studies/common/statistics.hpp"
#include "studies/common/table.hpp"
#include "support/scratch.hpp"

namespace {

using namespace studies::common;
using scratch::read_file;
using scratch::temporary_directory;

run_record example_run() {
  run_record r;
  r.shift = "rotated";
  r.method = "hrp";
  r.rank = 4;
  r.rate = 0.03;
  r.base = 1;
  r.seed = 2;
  r.steps = 150;
  r.settings = "batch 64";
  r.name = "HRP, \"quoted\" · β";
  r.status = "completed";
  r.validation_loss = 0.25;
  r.best_validation_loss = 0.2;
  r.validation_accuracy = 0.95;
  r.test_loss = 1.0 / 3.0;
  r.test_accuracy = 0.9;
  r.trainable_parameters = 4392;
  r.calibration_steps = 5;
  r.seconds = 0.125;
  r.cut_layers = "layers.2: 10";
  r.curve = {{10, 2.5}, {20, 0.1}};
  return r;
}

// A run of a group, for the choice of rates.
run_record chosen_by(double rate, double validation_loss, int base = 0,
                     double test_accuracy = 0.5) {
  run_record r = example_run();
  r.rate = rate;
  r.base = base;
  r.validation_loss = validation_loss;
  r.test_accuracy = test_accuracy;
  return r;
}

run_group pointers(const std::vector<run_record>& runs) {
  run_group group;
  for (const run_record& r : runs) {
    group.push_back(&r);
  }
  return group;
}

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

// ------------------------------------------------------------------------------------- statistics

TEST_CASE("results: Student's t quantiles are those of the closed forms") {
  struct known {
    double degrees;
    double at95;
    double at99;
  };
  // From the closed forms of the distribution (Abramowitz and Stegun 26.7.3 and 26.7.4), inverted
  // with 40 digits.
  const std::array table_values = {known{1, 12.70620473617470, 63.65674116287158},
                                   known{2, 4.30265272974946, 9.92484320091829},
                                   known{3, 3.18244630528371, 5.84090930973336},
                                   known{4, 2.77644510519779, 4.60409487134999},
                                   known{5, 2.57058183563632, 4.03214298355523},
                                   known{7, 2.36462425159279, 3.49948329735049},
                                   known{9, 2.26215716279821, 3.24983554159213},
                                   known{10, 2.22813885198627, 3.16927267261695},
                                   known{20, 2.08596344726586, 2.84533970978611},
                                   known{30, 2.04227245630124, 2.74999565356723},
                                   known{100, 1.98397151852355, 2.62589052143802},
                                   known{1000, 1.96233908082641, 2.58075469806595}};
  for (const known& k : table_values) {
    CAPTURE(k.degrees);
    CHECK(std::abs(t_quantile(k.degrees, 0.95) / k.at95 - 1) < 1e-11);
    CHECK(std::abs(t_quantile(k.degrees, 0.99) / k.at99 - 1) < 1e-11);
    CHECK(t_two_sided_tail(k.at95, k.degrees) == doctest::Approx(0.05).epsilon(1e-11));
  }
  CHECK(std::abs(t_quantile(1e8) - 1.959963984540054) < 1e-7);  // the normal distribution's
  CHECK_THROWS_AS(t_quantile(0), std::invalid_argument);
  CHECK_THROWS_AS(t_quantile(3, 1), std::invalid_argument);
}

TEST_CASE("results: mean, spread and interval") {
  const std::vector<double> x = {1, 2, 3, 4};
  CHECK(mean(x) == 2.5);
  CHECK(standard_deviation(x) == doctest::Approx(std::sqrt(5.0 / 3.0)));
  const estimate e = mean_with_interval(x);
  CHECK(e.half == doctest::Approx(3.18244630528371 * std::sqrt(5.0 / 3.0) / 2));
  const estimate one = mean_with_interval(std::vector<double>{0.7});
  CHECK(one.mean == 0.7);
  CHECK(std::isnan(one.half));
  CHECK(std::isnan(mean(std::vector<double>{})));
}

// ---------------------------------------------------------------------------------------- results

TEST_CASE("results: Spearman's rank correlation, with equal numbers") {
  const std::vector<double> x{1, 2, 3, 4}, up{10, 20, 1000, 1001}, down{4, 3, 2, 1};
  CHECK(rank_correlation(x, up) == doctest::Approx(1));
  CHECK(rank_correlation(x, down) == doctest::Approx(-1));
  // Ranks 0 1 2 3 and 0.5 0.5 2 3: 4.5/√(5·4.5).
  CHECK(rank_correlation(x, std::vector<double>{5, 5, 6, 7}) == doctest::Approx(std::sqrt(0.9)));
  CHECK(std::isnan(rank_correlation(x, std::vector<double>{5, 5, 5, 5})));
  CHECK(std::isnan(rank_correlation({}, {})));
}

TEST_CASE("statistics: the t-test is the interval's other side, and Holm's correction") {
  const std::vector<double> x = {0.2, 0.5, 0.1, 0.4};
  const estimate e = mean_with_interval(x);
  CHECK(t_test(x) < 0.05);
  CHECK(std::abs(e.mean) > e.half);
  CHECK(t_test(std::vector<double>{0.2 - e.mean + e.half, 0.5 - e.mean + e.half,
                                   0.1 - e.mean + e.half, 0.4 - e.mean + e.half}) ==
        doctest::Approx(0.05));
  CHECK(std::isnan(t_test(std::vector<double>{1})));
  CHECK(t_test(std::vector<double>{2, 2}) == 0);
  CHECK(t_test(std::vector<double>{0, 0}) == 1);
  const std::vector<double> expected = {0.03, 0.06, 0.06, 0.02};
  const std::vector<double> adjusted = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(adjusted[i] == doctest::Approx(expected[i]));
  }
  CHECK(holm(std::vector<double>{0.6, 0.9}) == std::vector<double>{1, 1});
}

TEST_CASE("results: a run's line reads back as the run") {
  const run_record r = example_run();
  const run_record back = from_line(to_line(r));
  CHECK(to_line(back) == to_line(r));
  CHECK(key(back) == key(r));
  CHECK(back.test_loss == r.test_loss);
  CHECK(back.name == r.name);
  CHECK(back.curve.size() == 2);
  CHECK(to_line(r).find("training_curve") == std::string::npos);

  run_record with_training = r;
  with_training.training_curve = {{5, 0.75}, {10, 0.5}};
  CHECK(from_line(to_line(with_training)).training_curve.back().loss == 0.5);
  CHECK(to_line(from_line(to_line(with_training))) == to_line(with_training));

  run_record failed = r;
  failed.validation_loss = not_a_number;
  failed.test_loss = infinity;
  CHECK(std::isnan(from_line(to_line(failed)).validation_loss));
  CHECK(std::isnan(from_line(to_line(failed)).test_loss));
}

TEST_CASE("results: every field that defines a run is part of its key, no outcome is") {
  const run_record r = example_run();
  const std::vector<std::function<void(run_record&)>> changes = {
      [](run_record& x) { x.shift = "mirrored"; },
      [](run_record& x) { x.method = "pissa"; },
      [](run_record& x) { x.rank = 8; },
      [](run_record& x) { x.rate = std::nextafter(0.03, 1); },
      [](run_record& x) { x.base = 2; },
      [](run_record& x) { x.seed = 1; },
      [](run_record& x) { x.steps = 151; },
      [](run_record& x) { x.settings = "batch 32"; }};
  std::set<std::string> keys = {key(r)};
  for (const auto& change : changes) {
    run_record other = r;
    change(other);
    keys.insert(key(other));
  }
  CHECK(keys.size() == changes.size() + 1);

  run_record outcome = r;
  outcome.test_accuracy = 0;
  outcome.name = "another";
  outcome.seconds = 1;
  CHECK(key(outcome) == key(r));
}

TEST_CASE("results: a log of runs is found again, a cut-off last line is dropped") {
  const temporary_directory place;
  const std::filesystem::path file = place / "runs.jsonl";
  run_record first = example_run();
  run_record second = example_run();
  second.seed = 7;
  {
    run_log log(file);
    CHECK(log.size() == 0);
    log.append(first);
    log.append(second);
    CHECK(log.size() == 2);
    CHECK_THROWS_AS(run_log{file}, std::runtime_error);  // a second writer
  }
  const std::string whole = read_file(file);
  CHECK(whole == to_line(first) + "\n" + to_line(second) + "\n");

  // Cut anywhere in the last line, its line end included.
  for (const std::size_t cut : {std::size_t(1), std::size_t(2), to_line(second).size()}) {
    std::ofstream(file, std::ios::binary) << whole.substr(0, whole.size() - cut);
    run_log log(file);
    CHECK(log.size() == 1);
    CHECK(log.note().find("dropped") != std::string::npos);
    CHECK(log.find(first) != nullptr);
    CHECK(log.find(second) == nullptr);
    log.append(second);
    CHECK(read_file(file) == whole);
  }
  {
    run_log log(file);
    CHECK(log.note().empty());
    REQUIRE(log.find(second) != nullptr);
    CHECK(log.find(second)->test_loss == second.test_loss);
  }

  std::ofstream(file, std::ios::binary) << "a file of notes\n" << whole;
  CHECK_THROWS_AS(run_log{file}, std::runtime_error);
  CHECK(read_file(file) == "a file of notes\n" + whole);  // left alone
}

// -------------------------------------------------------------------------------------- selection

TEST_CASE("results: the rate with the smallest mean validation loss wins, whatever the test says") {
  const std::vector<run_record> runs = {
      chosen_by(0.01, 0.5, 0, 0.99), chosen_by(0.01, 0.5, 1, 0.99),  //
      chosen_by(0.03, 0.2, 0, 0.10), chosen_by(0.03, 0.4, 1, 0.20),  //
      chosen_by(0.10, 0.1, 0, 0.99), chosen_by(0.10, 0.9, 1, 0.99)};
  const auto best = choose_rate(pointers(runs));
  REQUIRE(best.has_value());
  CHECK(best->rate == 0.03);
  CHECK(best->validation_loss == doctest::Approx(0.3));
  CHECK_FALSE(best->at_edge);
  CHECK_FALSE(rate_to_add(pointers(runs), 0, 3).has_value());

  const summary_row row = summarize(pointers(runs));
  CHECK(row.rate == 0.03);
  CHECK(row.bases == 2);
  CHECK(row.runs == 2);
  CHECK(row.test_accuracy.mean == doctest::Approx(0.15));
  CHECK(row.test_accuracy.half == doctest::Approx(12.70620473617470 * 0.05));
}

TEST_CASE("results: a rate with one run that failed is not chosen; of equals the smallest is") {
  const std::vector<run_record> runs = {chosen_by(0.01, 0.5), chosen_by(0.03, not_a_number),
                                        chosen_by(0.03, 0.0, 1), chosen_by(0.10, 0.5)};
  const auto best = choose_rate(pointers(runs));
  REQUIRE(best.has_value());
  CHECK(best->rate == 0.01);

  const std::vector<run_record> all_failed = {chosen_by(0.01, not_a_number),
                                              chosen_by(0.03, infinity)};
  CHECK_FALSE(choose_rate(pointers(all_failed)).has_value());
  CHECK_FALSE(rate_to_add(pointers(all_failed), 0, 3).has_value());
  CHECK(summarize(pointers(all_failed)).failed);
}

TEST_CASE("results: a best rate at the edge is flagged and extends the grid") {
  std::vector<run_record> runs = {chosen_by(0.001, 0.3), chosen_by(0.003, 0.2),
                                  chosen_by(0.01, 0.1)};
  CHECK(choose_rate(pointers(runs))->at_edge);
  CHECK(rate_to_add(pointers(runs), 0, 2) == 0.033);
  CHECK_FALSE(rate_to_add(pointers(runs), 2, 2).has_value());
  runs.push_back(chosen_by(0.033, 0.4));
  CHECK_FALSE(choose_rate(pointers(runs))->at_edge);

  const std::vector<run_record> falling = {chosen_by(0.01, 0.1), chosen_by(0.1, 0.2)};
  CHECK(choose_rate(pointers(falling))->at_edge);
  CHECK(rate_to_add(pointers(falling), 0, 1) == 0.001);

  const std::vector<run_record> single = {chosen_by(0.01, 0.1)};
  CHECK_FALSE(choose_rate(pointers(single))->at_edge);
  CHECK_FALSE(rate_to_add(pointers(single), 0, 1).has_value());
}

TEST_CASE("results: seeds are averaged within a base, gains are taken base by base") {
  std::vector<run_record> runs = {chosen_by(0.01, 0.1, 0, 0.6),
                                  chosen_by(0.01, 0.1, 0, 0.8),  // two seeds of base 0
                                  chosen_by(0.01, 0.1, 1, 0.9)};
  const summary_row row = summarize(pointers(runs));
  CHECK(row.bases == 2);
  CHECK(row.runs == 3);
  CHECK(row.test_accuracy.mean == doctest::Approx(0.8));

  const std::vector<run_record> reference = {
      chosen_by(0.3, 0.1, 0, 0.5), chosen_by(0.3, 0.1, 1, 0.7), chosen_by(0.3, 0.1, 2, 0.0)};
  const summary_row gained = summarize(pointers(runs), pointers(reference));
  CHECK(gained.gain.mean == doctest::Approx(0.2));
  CHECK(gained.gain.half == doctest::Approx(0).epsilon(1e-12));
}

// ----------------------------------------------------------------------------------------- tables

TEST_CASE("results: numbers as texts") {
  CHECK(fixed(0.12345, 3) == "0.123");
  CHECK(fixed(-0.0001, 3) == "0.000");
  CHECK(fixed(-1.5, 1) == "-1.5");
  CHECK(fixed(not_a_number, 3) == "–");
  CHECK(fixed(infinity, 3) == "–");
  CHECK(with_interval({0.5, 0.25}, 2) == "0.50 ± 0.25");
  CHECK(with_interval({0.5, not_a_number}, 2) == "0.50 ± –");
  CHECK(with_interval({}, 2) == "–");
  CHECK(grouped(7) == "7");
  CHECK(grouped(1234) == "1 234");
  CHECK(grouped(1234567) == "1 234 567");
  CHECK(to_text(0.1) == "0.1");
  CHECK(joined(std::vector<double>{0.003, 0.1}, ", ") == "0.003, 0.1");
  CHECK(display_width("0.1 ± –") == 7);
}

TEST_CASE("results: columns are aligned by what is seen, not by bytes") {
  table t({{"name", align::left}, {"value", align::right}});
  t.add({"a", "0.5 ± –"});
  t.add({"β–γ", "10"});
  CHECK(t.to_string() ==
        "name    value\n"
        "─────────────\n"
        "a     0.5 ± –\n"
        "β–γ        10\n");
  CHECK_THROWS_AS(t.add({"one"}), std::invalid_argument);

  const summary_row row = summarize(pointers({chosen_by(0.01, 0.1), chosen_by(0.03, 0.2)}));
  const std::string text = summary_table(std::array{row, row});
  CHECK(text.find("0.01*") != std::string::npos);
  CHECK(text.find("0.500 ± –") != std::string::npos);
}

TEST_CASE("results: summary.csv has one value per column") {
  const temporary_directory place;
  std::vector<run_record> runs = {chosen_by(0.01, 0.1), chosen_by(0.03, 0.2)};
  for (run_record& r : runs) {
    r.name = "train B";
  }
  write_summary(place / "summary.csv", std::array{summarize(pointers(runs))});
  const std::string text = read_file(place / "summary.csv");
  const std::size_t end = text.find('\n');
  const auto commas = [](const std::string& line) {
    return std::count(line.begin(), line.end(), ',');
  };
  CHECK(commas(text.substr(0, end)) == commas(text.substr(end + 1)));
  CHECK(text.find("train B,0.01,1,1,1,0.1,0.5,,") != std::string::npos);
  CHECK(csv_field("a, \"b\"") == "\"a, \"\"b\"\"\"");
}
