// Learning-rate schedules by their formulas, early stopping, and the matching of layer names.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <preheat/train/early_stopping.hpp>
#include <preheat/train/options.hpp>
#include <preheat/train/schedule.hpp>

using namespace preheat;

namespace {

constexpr index_t warmup = 10;
constexpr index_t total = 50;

// The ramp k/w, the same for every schedule.
template <class Schedule>
void check_ramp(const Schedule& s) {
  for (index_t k = 0; k < warmup; ++k) {
    CHECK(s(k, total) == double(k) / warmup);
  }
}
// After the ramp, the formula as a function of x = (k − w)/(total − w).
template <class Schedule, class Formula>
void check_rest(const Schedule& s, Formula formula) {
  for (index_t k = warmup; k < total; ++k) {
    const double x = double(k - warmup) / double(total - warmup);
    CHECK(s(k, total) == doctest::Approx(formula(x)).epsilon(1e-14));
  }
}

}  // namespace

TEST_CASE("schedules ramp up linearly and then follow their formulas") {
  constexpr double pi = std::numbers::pi;
  check_ramp(schedule::constant{.warmup = warmup});
  check_ramp(schedule::linear{.warmup = warmup});
  check_ramp(schedule::cosine{.warmup = warmup});
  check_ramp(schedule::cosine_with_restarts{.warmup = warmup});
  check_ramp(schedule::polynomial{.warmup = warmup});
  check_ramp(schedule::inverse_sqrt{.warmup = warmup});

  check_rest(schedule::constant{.warmup = warmup}, [](double) { return 1.0; });
  check_rest(schedule::linear{.warmup = warmup}, [](double x) { return 1 - x; });
  check_rest(schedule::cosine{.warmup = warmup},
             [](double x) { return 0.5 * (1 + std::cos(pi * x)); });
  check_rest(schedule::cosine{.warmup = warmup, .cycles = 1.5},
             [](double x) { return 0.5 * (1 + std::cos(3 * pi * x)); });
  check_rest(schedule::cosine_with_restarts{.warmup = warmup, .cycles = 4},
             [](double x) { return 0.5 * (1 + std::cos(pi * std::fmod(4 * x, 1.0))); });
  check_rest(schedule::polynomial{.warmup = warmup, .power = 2, .end = 0.25},
             [](double x) { return 0.75 * (1 - x) * (1 - x) + 0.25; });
  check_rest(schedule::inverse_sqrt{.warmup = warmup},
             [](double x) { return 1 / std::sqrt((x * (total - warmup) + warmup) / warmup); });
}

TEST_CASE("schedules at their ends") {
  CHECK(schedule::constant{}(0, total) == 1);
  CHECK(schedule::linear{}(0, total) == 1);
  CHECK(schedule::linear{}(total, total) == 0);
  CHECK(schedule::linear{}(total + 5, total) == 0);
  CHECK(schedule::cosine{}(total, total) == doctest::Approx(0));
  CHECK(schedule::cosine_with_restarts{.cycles = 3}(total, total) == 0);
  CHECK(schedule::polynomial{.end = 0.125}(total, total) == 0.125);
  CHECK(schedule::polynomial{.end = 0.125}(total + 3, total) == 0.125);
  CHECK(schedule::inverse_sqrt{}(0, total) == 1);
  CHECK(schedule::inverse_sqrt{}(30000, total) == 0.5);             // 1/√((30000 + 10000)/10000)
  CHECK(schedule::inverse_sqrt{.timescale = 4}(12, total) == 0.5);  // 1/√((12 + 4)/4)
  // A warmup as long as the run divides by nothing.
  CHECK(std::isfinite(schedule::linear{.warmup = total}(total, total)));
  CHECK(std::isfinite(schedule::cosine{.warmup = total}(total, total)));
}

TEST_CASE("early stopping counts evaluations without improvement in a row") {
  early_stopping s;
  CHECK_FALSE(s.update(1.0, 2, 0));
  CHECK_FALSE(s.update(1.0, 2, 0));  // equal is no improvement: one
  CHECK_FALSE(s.update(0.9, 2, 0));  // better: none
  CHECK_FALSE(s.update(0.95, 2, 0));
  CHECK(s.update(0.93, 2, 0));

  early_stopping demanding;
  CHECK_FALSE(demanding.update(1.0, 1, 0.1));
  CHECK(demanding.update(0.95, 1, 0.1));  // better, but by too little

  early_stopping never;
  for (int i = 0; i < 100; ++i) {
    CHECK_FALSE(never.update(1.0, 0, 0));
  }
  early_stopping spoilt;
  CHECK(spoilt.update(std::numeric_limits<double>::quiet_NaN(), 1, 0));
}

TEST_CASE("targets match whole names and suffixes after a dot and patterns") {
  const auto match = [](const char* name, std::vector<std::string> targets) {
    return matches_target(name, targets);
  };
  CHECK(match("encoder.fc1", {}));
  CHECK(match("encoder.fc1", {"encoder.fc1"}));
  CHECK(match("encoder.fc1", {"fc1"}));
  CHECK_FALSE(match("encoder.xfc1", {"fc1"}));
  CHECK_FALSE(match("encoder.fc1", {"encoder"}));
  CHECK_FALSE(match("encoder.fc1", {"fc"}));
  CHECK_FALSE(match("fc1", {"encoder.fc1"}));
  CHECK(match("encoder.fc1", {"other", "fc1"}));
  CHECK(match("encoder.fc1", {"*"}));
  CHECK(match("encoder.fc1", {"enc*"}));
  CHECK(match("encoder.fc1", {"*.fc*"}));
  CHECK(match("encoder.layer.11.fc1", {"*.layer.*.fc1"}));
  CHECK_FALSE(match("encoder.fc1", {"*.fc2"}));
  CHECK_FALSE(match("encoder.fc1", {"*fc"}));
  CHECK(match("aab", {"*ab"}));
  CHECK(match("a", {"a**"}));
}
