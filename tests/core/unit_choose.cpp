// preheat::random_subset: sets of k out of n, in increasing order, every set equally likely.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <preheat/core/random.hpp>
#include <vector>

#include "support/refusal.hpp"

using namespace preheat;
using conformance::refusal;

namespace {

using set = std::vector<index_t>;

set numbers(index_t n) {
  set all;
  for (index_t i = 0; i < n; ++i) {
    all.push_back(i);
  }
  return all;
}
generator stream(int i) {
  return generator(21).fork(purpose::subset, std::uint64_t(i));
}

}  // namespace

TEST_CASE("choose: k different numbers of 0 to n - 1, in increasing order") {
  for (index_t n = 0; n <= 12; ++n) {
    for (index_t k = 0; k <= n; ++k) {
      CAPTURE(n);
      CAPTURE(k);
      const set chosen = random_subset(k, n, stream(int(13 * n + k)));
      CHECK(index_t(chosen.size()) == k);
      // Increasing, with no number twice: nothing is out of order, even with <=.
      CHECK(std::is_sorted(chosen.begin(), chosen.end(), std::less_equal<>{}));
      if (k > 0) {
        CHECK(chosen.front() >= 0);
        CHECK(chosen.back() < n);
      }
    }
  }
}

TEST_CASE("choose: none, all, and one of one") {
  CHECK(random_subset(0, 5, stream(0)).empty());
  CHECK(random_subset(0, 0, stream(0)).empty());
  CHECK(random_subset(5, 5, stream(0)) == numbers(5));
  CHECK(random_subset(1, 1, stream(0)) == numbers(1));
}

TEST_CASE("choose: a function of the stream, and another set in another stream") {
  const generator gen = stream(1);
  const set first = random_subset(4, 30, gen);
  CHECK(random_subset(4, 30, gen) == first);
  int others = 0;
  for (int i = 2; i < 12; ++i) {
    others += random_subset(4, 30, stream(i)) != first;
  }
  CHECK(others == 10);  // one of 27405 sets in each
}

TEST_CASE("choose: every set is equally likely") {
  constexpr int draws = 20000;
  for (const auto& [chosen, all, number_of_sets] :
       {std::array<index_t, 3>{1, 2, 2}, {1, 4, 4}, {2, 5, 10}, {4, 5, 5}}) {
    const index_t k = chosen;
    const index_t n = all;
    const index_t sets = number_of_sets;
    CAPTURE(k);
    CAPTURE(n);
    std::map<set, int> count;
    for (int i = 0; i < draws; ++i) {
      ++count[random_subset(k, n, stream(i))];
    }
    REQUIRE(index_t(count.size()) == sets);
    const double expected = double(draws) / double(sets);
    double chi_square = 0;
    for (const auto& [which, times] : count) {
      chi_square += (times - expected) * (times - expected) / expected;
    }
    CHECK(chi_square < 36);  // at most 9 degrees of freedom: exceeded once in 25000 seeds
  }

  // In larger sets every number has its share k/n, the first and the last too.
  std::map<index_t, int> chosen;
  for (int i = 0; i < draws; ++i) {
    for (const index_t number : random_subset(3, 20, stream(i))) {
      ++chosen[number];
    }
  }
  for (const index_t number : numbers(20)) {
    CAPTURE(number);
    CHECK(std::abs(chosen[number] - draws * 0.15) < 5 * std::sqrt(draws * 0.15 * 0.85));
  }
}

TEST_CASE("choose: more than there are, and fewer than none, are refused") {
  CHECK(refusal([] { random_subset(4, 3, stream(0)); }) ==
        "preheat: random_subset: 0 <= chosen <= all (4, 3)");
  CHECK(refusal([] { random_subset(-1, 3, stream(0)); }) ==
        "preheat: random_subset: 0 <= chosen <= all (-1, 3)");
  CHECK(refusal([] { random_subset(1, 0, stream(0)); }) ==
        "preheat: random_subset: 0 <= chosen <= all (1, 0)");
  CHECK(refusal([] { random_subset(0, -1, stream(0)); }) ==
        "preheat: random_subset: 0 <= chosen <= all (0, -1)");
}
