// The grid of runs: what it does, what it keeps, how its rates grow.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "studies/common/grid.hpp"
#include "support/scratch.hpp"

namespace {

using namespace studies::common;

// A method whose best rate is `best`, counting its runs.
grid_group valley(double best, int& calls) {
  grid_group g;
  g.problem = "valley";
  g.method = "method";
  g.rates = {0.01, 0.1};
  g.bases = 2;
  g.run = [best, &calls](const run_definition& run) {
    ++calls;
    run_outcome result;
    result.status = "completed";
    result.validation_loss = std::pow(std::log(run.rate / best), 2);
    result.test_accuracy = run.base;
    return result;
  };
  return g;
}

std::string no_note(const grid_group&, const run_record&) {
  return {};
}

struct silent_bar {
  std::FILE* nowhere = std::fopen("/dev/null", "w");
  apps::console::progress_bar bar{nowhere};
  ~silent_bar() { std::fclose(nowhere); }
};

}  // namespace

TEST_CASE("grid: rates grow until the best is inside, and no further than allowed") {
  const scratch::temporary_directory folder;
  run_log log(folder.path() / "runs.jsonl");
  silent_bar silent;
  for (const int most : {0, 1, 5}) {
    CAPTURE(most);
    grid g(log, 1, most);
    int calls = 0;
    grid_group group = valley(10, calls);
    group.settings = "most " + std::to_string(most);
    const std::size_t number = g.add(group);
    CHECK(g.wanted_runs() == 4);
    REQUIRE(g.run(std::vector{number}, silent.bar, no_note));
    const auto choice = choose_rate(g.runs(number));
    REQUIRE(choice);
    // 0.01 0.1, then 1, 10, 100: 10 is inside after three more.
    const int added = std::min(most, 3);
    CHECK(calls == 2 * (2 + added));
    CHECK(choice->at_edge == (most < 3));
  }
}

TEST_CASE("grid: what is kept is not done again, grown rates included") {
  const scratch::temporary_directory folder;
  int calls = 0;
  silent_bar silent;
  {
    run_log log(folder.path() / "runs.jsonl");
    grid g(log, 2, 3);
    const std::size_t number = g.add(valley(10, calls));
    REQUIRE(g.run(std::vector{number}, silent.bar, no_note));
  }
  const int first = calls;
  run_log log(folder.path() / "runs.jsonl");
  grid g(log, 2, 3);
  const std::size_t number = g.add(valley(10, calls));
  CHECK(g.kept_runs() == g.wanted_runs());
  REQUIRE(g.run(std::vector{number}, silent.bar, no_note));
  CHECK(calls == first);
  CHECK(int(g.runs(number).size()) == first);
}

TEST_CASE("grid: an exception in a run comes out") {
  const scratch::temporary_directory folder;
  run_log log(folder.path() / "runs.jsonl");
  silent_bar silent;
  grid g(log, 1, 0);
  int calls = 0;
  grid_group group = valley(10, calls);
  group.run = [](const run_definition&) -> run_outcome { throw std::runtime_error("broken"); };
  const std::size_t number = g.add(group);
  CHECK_THROWS_WITH(g.run(std::vector{number}, silent.bar, no_note), "broken");
  CHECK(log.size() == 0);
}

TEST_CASE("grid: one that may go no further stops, with whole bases first") {
  const scratch::temporary_directory folder;
  run_log log(folder / "runs.jsonl");
  silent_bar silent;
  int made = 0;
  const auto run = [&](const run_definition&) {
    ++made;
    return run_outcome{.validation_loss = 1};
  };
  grid g(log, 1, 0);
  const std::array both = {
      g.add({.problem = "p", .method = "a", .rates = {1, 2}, .bases = 2, .run = run}),
      g.add({.problem = "p", .method = "b", .rates = {1, 2}, .bases = 2, .run = run})};
  CHECK_FALSE(g.complete(both, 0));
  CHECK_FALSE(g.run(both, silent.bar, no_note, [&] { return made < 5; }));
  CHECK(made == 5);
  CHECK(g.complete(both, 0));
  CHECK_FALSE(g.complete(both, 1));
  CHECK(g.run(both, silent.bar, no_note));
  CHECK(made == 8);
  CHECK(g.complete(both, 1));
}
