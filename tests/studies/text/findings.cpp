// What the report says of its tables.
#include <doctest/doctest.h>

#include <deque>
#include <string>
#include <vector>

#include "studies/text/report.hpp"

namespace {

using namespace studies::text;
using studies::common::run_group;
using studies::common::run_record;

// Three runs of a method at one rate, with these test accuracies and a training loss each.
class made_up_results {
 public:
  void add(const std::string& id, const std::vector<double>& accuracies, double training_loss) {
    methods_.emplace_back().id = id;
    run_group runs;
    for (std::size_t base = 0; base < accuracies.size(); ++base) {
      run_record& r = records_.emplace_back();
      r.method = id;
      r.name = id;
      r.rate = 0.01;
      r.base = int(base);
      r.validation_loss = 0.5;
      r.test_accuracy = accuracies[base];
      r.training_curve = {{8, training_loss + 0.1 * double(base)}};
      runs.push_back(&r);
    }
    const run_group reference = table.results.empty() ? run_group{} : table.results.front().runs;
    table.results.push_back({.method = &methods_.back(),
                             .rank = 2,
                             .runs = runs,
                             .summary = studies::common::summarize(runs, reference)});
  }

  table_of_set table{&all_sets[0], 2, {}};

 private:
  std::deque<method_entry> methods_;
  std::deque<run_record> records_;
};

TEST_CASE("text: a difference is called one only if its interval leaves 0 out") {
  made_up_results made;
  made.add("lora", {0.80, 0.70, 0.75}, 0.5);
  made.add("better", {0.82, 0.721, 0.769}, 0.4);
  made.add("worse", {0.78, 0.679, 0.731}, 0.6);
  made.add("unclear", {0.85, 0.65, 0.80}, 0.5);

  const options wanted{};
  const report_contents contents{.wanted = &wanted, .done = nullptr, .tables = {made.table}};
  const std::vector<std::string> said = findings(contents);
  REQUIRE(said.size() == 3);
  CHECK(said[0] ==
        "tweets, rank 2: better against LoRA, Kaiming: test accuracy +0.020 ± 0.002 (higher), last "
        "training loss -0.100 ± 0.000 (lower).");
  CHECK(said[1].find("-0.020 ± 0.002 (lower), last training loss +0.100 ± 0.000 (higher)") !=
        std::string::npos);
  CHECK(said[2].find("test accuracy +0.017 ± 0.143 (not shown to differ)") != std::string::npos);
}

}  // namespace
