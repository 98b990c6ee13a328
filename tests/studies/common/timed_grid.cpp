// A limit of time: what does not fit is left out whole, and nothing is left out without one.
#include <doctest/doctest.h>

#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "studies/common/timed_grid.hpp"
#include "support/scratch.hpp"

namespace {

using namespace studies::common;

struct method {
  std::string id;
  bool has_rank = false;
  bool has_rate = true;
  std::string citation{};
};

// Three methods of three rates and three seeds, and one without a rate; a run takes a twentieth of a
// second.
class slow_study {
 public:
  explicit slow_study(double minutes) : grid(log_, 1, 0, 3, minutes) {
    for (const method& m : methods_) {
      grid_group group;
      group.problem = "problem";
      group.method = m.id;
      group.rates = m.has_rate ? std::vector{0.01, 0.1, 1.0} : std::vector{0.0};
      group.bases = m.has_rate ? 3 : 1;
      group.run = [](const run_definition& run) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        run_outcome result;
        result.status = "completed";
        result.validation_loss = run.rate;
        result.test_accuracy = 0.5;
        return result;
      };
      grid.add(0, m, 0, std::move(group));
    }
  }
  // Does all runs; how many there are then.
  std::size_t finish() {
    std::FILE* const nowhere = std::fopen("/dev/null", "w");
    {
      apps::console::progress_bar bar(nowhere);
      grid.run(0, bar, [](const grid_group&, const run_record&) { return std::string(); });
    }
    std::fclose(nowhere);
    return log_.size();
  }
  std::size_t runs() const { return log_.size(); }

 private:
  scratch::temporary_directory folder_;
  run_log log_{folder_.path() / "runs.jsonl"};
  const std::vector<method> methods_{{"none", false, false}, {"lora"}, {"hrp"}, {"pissa"}};

 public:
  timed_grid<int, method> grid;
};

TEST_CASE("timed_grid: without a limit, and with a long one, all is done") {
  slow_study unlimited(0);
  CHECK(unlimited.grid.fit_to_time(1).empty());
  CHECK(unlimited.runs() == 0);
  CHECK(unlimited.grid.wanted_runs() == 28);
  CHECK(unlimited.finish() == 28);

  slow_study patient(60);
  CHECK(patient.grid.fit_to_time(1).empty());
  CHECK(patient.runs() == 1);  // which was measured
  CHECK(patient.grid.wanted_runs() == 28);
  CHECK(patient.grid.kept_runs() == 1);
  CHECK(patient.finish() == 28);
}

TEST_CASE("timed_grid: seeds, then rates are left out, the same of every method") {
  // 28 runs of 0.05 s, 15 % more to be safe, are 1.6 s: 0.9 s have room for less on any machine.
  slow_study hurried(0.9 / 60);
  const std::string said = hurried.grid.fit_to_time(1);
  CHECK(said.find(" of 3 seeds and ") != std::string::npos);
  CHECK(said.find("the others are left out") != std::string::npos);
  REQUIRE(hurried.runs() == 1);
  const std::size_t wanted = hurried.grid.wanted_runs();
  const std::set<std::size_t> whole = {1 + 3 * 2 * 3, 1 + 3 * 2 * 2, 1 + 3 * 2, 1 + 3};
  CHECK(whole.contains(wanted));

  // There is time for all runs at a time.
  slow_study parallel(0.9 / 60);
  CHECK(parallel.grid.fit_to_time(28).empty());
}

TEST_CASE("timed_grid: nothing begins when the time is up") {
  slow_study late(1e-12);
  CHECK(late.grid.fit_to_time(1).empty());
  CHECK(late.finish() == 0);
}

TEST_CASE("timed_grid: a table is made of what remains") {
  slow_study hurried(0.9 / 60);
  hurried.grid.fit_to_time(1);
  const std::size_t wanted = hurried.grid.wanted_runs();
  if (hurried.finish() == wanted) {  // a machine that stops for a second ends earlier
    const auto results = hurried.grid.results(0, 0);
    CHECK(results.size() == 4);
    CHECK(results[0].runs.size() == 1);
    CHECK(results[1].runs.size() == results[2].runs.size());
  }
}

}  // namespace
