// What programs share: the pool of threads, the progress line.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <vector>

#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"

using namespace apps::console;

// --------------------------------------------------------------------------------------- the pool

TEST_CASE("console: every job is run once, on any number of threads") {
  for (const int threads : {1, 3, 8}) {
    std::vector<std::atomic<int>> counts(100);
    const std::atomic<bool> never{false};
    CHECK(run_jobs(
        threads, counts.size(), [&](std::size_t i) { ++counts[i]; }, never));
    CHECK(std::all_of(counts.begin(), counts.end(), [](const auto& c) { return c == 1; }));
  }
  CHECK(run_jobs(2, 0, [](std::size_t) {}));
}

TEST_CASE("console: an exception of a job comes out, and no further job is started") {
  std::atomic<int> started{0};
  const std::atomic<bool> never{false};
  const auto job = [&](std::size_t i) {
    ++started;
    if (i == 5) {
      throw std::runtime_error("job 5");
    }
  };
  CHECK_THROWS_WITH_AS(run_jobs(1, 100, job, never), "job 5", std::runtime_error);
  CHECK(started == 6);
}

TEST_CASE("console: a stop lets jobs in flight finish and starts no other") {
  std::atomic<bool> stop{false};
  std::atomic<int> finished{0};
  const auto job = [&](std::size_t i) {
    if (i == 3) {
      stop = true;
    }
    ++finished;
  };
  CHECK_FALSE(run_jobs(1, 100, job, stop));
  CHECK(finished == 4);
}

// --------------------------------------------------------------------------------------- progress

TEST_CASE("console: the progress line counts kept runs as done, but not as a pace") {
  CHECK(clock_text(75) == "1:15");
  CHECK(clock_text(3700) == "1:01:40");
  CHECK(clock_text(-1) == "0:00");
  const progress_state s{.done = 60, .kept = 50, .total = 100, .elapsed = 20, .note = "best 0.9"};
  CHECK(remaining_seconds(s) == doctest::Approx(80));
  CHECK(progress_line(s) ==
        "[##############..........]  60/100  0:20 elapsed, 1:20 left  best 0.9");
  const progress_state nothing_done{
      .done = 50, .kept = 50, .total = 100, .elapsed = 20, .note = ""};
  CHECK(remaining_seconds(nothing_done) < 0);
}
