// The tables of kept runs, and that docs/evidence.md has its numbers from them.
#include "studies/lm/evidence.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "studies/lm/evidence_figures.hpp"
#include "studies/lm/variants.hpp"
#include "support/scratch.hpp"

namespace {

using studies::common::run_record;
using studies::lm::method_entry;

run_record record(const std::string& method, double rate, int base, double loss) {
  run_record r;
  r.shift = "definitions";
  r.method = method;
  r.name = "the " + method;
  r.rank = method == "full" ? 0 : 4;
  r.rate = rate;
  r.base = base;
  r.steps = 32;
  r.settings = "batch 8; fingerprint " + method;
  r.status = "completed";
  r.validation_loss = loss;
  r.test_loss = loss + 0.1;
  r.test_accuracy = 0.5;
  r.measures["drift_loss"] = 4;
  return r;
}

const std::vector<method_entry> known = {{.id = "full", .name = "", .citation = ""},
                                         {.id = "lora", .name = "", .citation = ""},
                                         {.id = "hrp", .name = "", .citation = ""}};

TEST_CASE("lm: kept runs: rates with fewer seeds choose nothing, differences are paired") {
  std::vector<run_record> runs;
  for (int base = 0; base < 3; ++base) {
    const double seed = 0.01 * base;
    runs.push_back(record("hrp_x4_k2", 0.001, base, 2.9 + seed));
    runs.push_back(record("lora", 0.004, base, 3.0 + seed));
    runs.push_back(record("full", 0.0001, base, 2.8 + seed));
  }
  runs.push_back(record("lora", 0.008, 0, 2.5));
  runs.push_back(record("lora", 0.002, 0, 3.5));
  const std::string text = studies::lm::evidence_of(runs, known);
  CAPTURE(text);
  const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
  CHECK(has("### definitions, 32 steps, rank 4\n\nbatch 8.\n"));
  CHECK(has("| the lora | 3 | 0.004 |  | 3.110 ± 0.025 |  |"));
  CHECK(has("| the hrp_x4_k2 | 3 | 0.001 | −0.100 ± 0.000 | 3.010 ± 0.025 | −0.100 ± 0.000 |"));
  CHECK(has("| the lora |  |  | 3.500; 4.000 (1) | **3.010**; 4.000 | 2.500; 4.000 (1) |"));
  CHECK(has("| definitions, 32 steps, rank 4 | 0.004 | 1e-04 | 3.110 | +0.200 ± 0.000 | 3 |"));
  CHECK(has("1 comparisons with tuned Kaiming, of 3 seeds or more. 1 exclude 0 at 95 %"));
  CHECK(text.find("| the full | 3 |") < text.find("| the lora | 3 |"));
  CHECK(text.find("| the lora | 3 |") < text.find("| the hrp_x4_k2 | 3 |"));
}

TEST_CASE("lm: a variant is read from its identifier as it was written") {
  const studies::lm::method_entry hrp{
      .id = "hrp", .name = "HRP", .citation = "", .has_row_norm = true, .preheats = true};
  const auto all = studies::lm::with_variants(
      {hrp}, {.row_norms = {0.3}, .preheat_multiples = {64}, .preheat_steps = {4}});
  REQUIRE(all.size() == 1);
  const studies::lm::start_variant v{.row_norm = 0.3, .preheat_multiple = 64, .preheat_steps = 4};
  CHECK(studies::lm::variant_from(all.front().id, "hrp") == v);
  for (const char* const other : {"hrp", "hrp_classic", "hrp_x", "hrp_x4z", "hrp_k-1", "hrpx_x4"}) {
    CAPTURE(other);
    CHECK(!studies::lm::variant_from(other, "hrp"));
  }
}

TEST_CASE("lm: kept runs: all comparisons are corrected together, and small rates are compared") {
  std::vector<run_record> runs;
  for (const int steps : {32, 64, 128}) {
    for (int base = 0; base < 5; ++base) {
      const double seed = 0.01 * base;
      const double chance = 0.001 * double((base * 7 + steps) % 5);
      const auto add = [&](const char* method, double rate, double loss) {
        runs.push_back(record(method, rate, base, loss));
        runs.back().steps = steps;
        runs.back().measures["start_curvature"] = method == std::string("lora") ? 1 : 4;
      };
      add("lora", 0.004, 3.0 + seed);
      add("lora", 0.002, 3.3 + seed);
      add("hrp_k4", 0.002, 2.95 + seed + chance);       // surely better
      add("hrp", 0.002, 2.9985 + seed + 0.5 * chance);  // not surely
      if (steps == 32) {
        add("hrp_x1_k4", 0.002, 2.97 + seed);
      }
    }
  }
  const std::vector<studies::lm::condition> conditions = studies::lm::conditions_of(runs, known);
  REQUIRE(conditions.size() == 3);
  const auto compared = studies::lm::comparisons_of(conditions);
  CHECK(compared.size() == 7);
  for (const auto& one : compared) {
    CAPTURE(one.who->method.id);
    CHECK(one.adjusted >= one.p);
    CHECK(one.remains() == (one.who->method.id != "hrp"));
    CHECK(one.who->widely_run == (one.who->method.id != "hrp_x1_k4"));
  }
  const std::string text = studies::lm::evidence_of(runs, known);
  CAPTURE(text);
  const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
  CHECK(has("7 comparisons with tuned Kaiming"));
  // At 0.002, half of Kaiming's best rate: 2.952 against 3.3.
  CHECK(has("| the hrp_k4 | −0.348 ± 0.002 | −0.348 ± 0.002 | −0.348 ± 0.002 |"));
  CHECK(has("| definitions, 32 steps, rank 4 | the hrp | 4 | 0.001 | 0.002 |"));
  CHECK(has("the prediction is wrong by a factor of 2.00 on average"));
  const auto pictures = studies::lm::evidence_figures(runs, known);
  std::set<std::string> names;
  for (const auto& p : pictures) {
    names.insert(p.name);
  }
  CHECK(names == std::set<std::string>{"lm_drift", "lm_predicted", "lm_preheating_rank", "lm_rates",
                                       "lm_steps"});
}

TEST_CASE("lm: a run that two machines made counts once, with the measures of both") {
  std::vector<run_record> runs;
  for (int base = 0; base < 3; ++base) {
    runs.push_back(record("lora", 0.004, base, 3.0 + 0.01 * base));
    runs.push_back(record("hrp", 0.004, base, 3.1 + 0.01 * base));
  }
  for (const char* const method : {"lora", "hrp"}) {
    runs.push_back(record(method, 0.004, 0, 4));
    runs.back().settings = "batch 8, starts measured; fingerprint of another machine";
    runs.back().measures = {{"drift_loss", 9}, {"start_curvature", method[0] == 'h' ? 8 : 2}};
  }
  CHECK(studies::lm::without_repeats(runs).size() == 6);
  const std::string text = studies::lm::evidence_of(runs, known);
  CAPTURE(text);
  const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
  CHECK(has("| the lora | 3 | 0.004 |  | 3.110 ± 0.025 |  |"));
  CHECK(has("| definitions, 32 steps, rank 4 | the hrp | 8 | 0.001 | 0.004 |"));
}

TEST_CASE("lm: the figure of rates has no line of one or two seeds") {
  std::vector<run_record> runs;
  for (int base = 0; base < 3; ++base) {
    for (const double rate : {0.002, 0.004}) {
      runs.push_back(record("lora", rate, base, 3.1 + 0.01 * base));
      runs.push_back(record("hrp", rate, base, 3.2 + 0.02 * base));
      if (base < 2) {
        runs.push_back(record("pissa", rate, base, 3.4));
      }
    }
  }
  const std::vector<method_entry> starts = {{.id = "lora", .name = "one", .citation = ""},
                                            {.id = "hrp", .name = "two", .citation = ""},
                                            {.id = "pissa", .name = "three", .citation = ""}};
  const auto pictures = studies::lm::evidence_figures(runs, starts);
  const auto rates = std::find_if(pictures.begin(), pictures.end(),
                                  [](const auto& p) { return p.name == "lm_rates"; });
  REQUIRE(rates != pictures.end());
  CAPTURE(rates->data);
  CHECK(rates->data.find("0.002 3.11 ") != std::string::npos);
  CHECK(rates->data.find("0.004 3.22 ") != std::string::npos);
  CHECK(rates->data.find(" 3.4 ") == std::string::npos);
}

// The numbers with three digits after the point: losses, shares, intervals.
std::set<std::string> numbers_of(const std::string& text) {
  const auto digit = [&](std::size_t at) {
    return at < text.size() && text[at] >= '0' && text[at] <= '9';
  };
  std::set<std::string> found;
  for (std::size_t point = text.find('.'); point != std::string::npos;
       point = text.find('.', point + 1)) {
    std::size_t begin = point;
    while (begin > 0 && digit(begin - 1)) {
      --begin;
    }
    std::size_t end = point + 1;
    while (digit(end)) {
      ++end;
    }
    const bool version = (begin > 0 && text[begin - 1] == '.') || text.substr(end, 1) == ".";
    if (begin < point && end == point + 4 && !(version && digit(end + 1))) {
      found.insert(text.substr(begin, end - begin));
    }
  }
  return found;
}

TEST_CASE(
    "lm: the numbers of docs/evidence.md on a language model are in the report of its files") {
  CHECK(numbers_of("0.123 ± 1.234, 0.12 and 0.1234; 0.123.") ==
        std::set<std::string>{"0.123", "1.234"});
  const std::string docs = PREHEAT_GOLDEN_DIR_DEFAULT "/../../docs/";
  const std::string page = scratch::read_file(docs + "evidence.md");
  const std::size_t begin = page.find("## On a language model");
  REQUIRE(begin != std::string::npos);
  const std::string part = page.substr(begin, page.find("\n## ", begin) - begin);

  std::vector<run_record> runs;
  std::set<std::string> files;
  const std::string link = "(evidence/";
  for (std::size_t at = part.find(link); at != std::string::npos; at = part.find(link, at + 1)) {
    const std::size_t name = at + 1;
    const std::string file = part.substr(name, part.find(')', name) - name);
    if (file.ends_with(".jsonl") && files.insert(file).second) {
      for (run_record& r : studies::common::read_runs(docs + file).runs) {
        runs.push_back(std::move(r));
      }
    }
  }
  REQUIRE(!runs.empty());
  const auto printed = numbers_of(studies::lm::evidence_of(runs, studies::lm::all_methods()));
  const auto told = numbers_of(part);
  for (const std::string& number : told) {
    CAPTURE(number);
    CHECK(printed.contains(number));
  }
  CHECK(told.size() > 50);
}

}  // namespace
