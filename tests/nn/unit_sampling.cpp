// How the next token is drawn: frequencies against probabilities.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <preheat/nn/sampling.hpp>
#include <vector>

using namespace preheat;

namespace {

// The relative frequencies of many draws.
std::vector<double> frequencies(const std::vector<float>& logits, const nn::sampling& s) {
  constexpr int draws = 40000;
  std::vector<double> counts(logits.size());
  generator gen(5);
  for (int i = 0; i < draws; ++i) {
    counts[std::size_t(nn::next_token<float>(logits, s, gen))] += 1.0 / draws;
  }
  return counts;
}
void check_frequencies(const nn::sampling& s, const std::vector<double>& expected) {
  // Probabilities 0.4, 0.1, 0.3, 0.2.
  const std::vector<float> logits{std::log(0.4F), std::log(0.1F), std::log(0.3F), std::log(0.2F)};
  const std::vector<double> found = frequencies(logits, s);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double deviation = std::sqrt(expected[i] * (1 - expected[i]) / 40000);
    CHECK(std::abs(found[i] - expected[i]) <= 4.5 * deviation + 1e-9);
  }
}

}  // namespace

TEST_CASE("sampling: probabilities, temperature, top-p") {
  check_frequencies({}, {1, 0, 0, 0});
  check_frequencies({.temperature = 1}, {0.4, 0.1, 0.3, 0.2});
  const double sum = 0.16 + 0.01 + 0.09 + 0.04;
  check_frequencies({.temperature = 0.5}, {0.16 / sum, 0.01 / sum, 0.09 / sum, 0.04 / sum});
  check_frequencies({.temperature = 1, .top_p = 0.95}, {0.4, 0.1, 0.3, 0.2});
  check_frequencies({.temperature = 1, .top_p = 0.85}, {0.4 / 0.9, 0, 0.3 / 0.9, 0.2 / 0.9});
  check_frequencies({.temperature = 1, .top_p = 0.6}, {0.4 / 0.7, 0, 0.3 / 0.7, 0});
  check_frequencies({.temperature = 1, .top_p = 0.3}, {1, 0, 0, 0});
}

TEST_CASE("sampling: the first of equal logits, large ones, and none that is finite") {
  generator gen(1);
  CHECK(nn::next_token<double>(std::vector<double>{1, 3, 3}, {}, gen) == 1);
  CHECK(nn::next_token<double>(std::vector<double>{1e300, -1e300}, {.temperature = 1}, gen) == 0);
  const std::vector<double> bad{1, std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_WITH_AS(nn::next_token<double>(bad, {}, gen),
                       "preheat: the logits of a language model have a NaN or infinite entry",
                       invalid_argument);
  CHECK_THROWS_AS(nn::next_token<double>(std::vector<double>{}, {}, gen), invalid_argument);
}
