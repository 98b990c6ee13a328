// The tables of kept runs, and that docs/evidence.md has its numbers from them.
#include "studies/lm/evidence.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

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
  CHECK(has("Room: tuned LoRA's eval loss less that of full fine-tuning is +0.200 ± 0.000."));
  CHECK(has("Of 2 differences"));
  CHECK(text.find("the full") < text.find("the lora"));
  CHECK(text.find("the lora") < text.find("the hrp_x4_k2"));
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

TEST_CASE("lm: the numbers of docs/evidence.md on definitions are in the report of its files") {
  CHECK(numbers_of("0.123 ± 1.234, 0.12 and 0.1234; 0.123.") ==
        std::set<std::string>{"0.123", "1.234"});
  const std::string docs = PREHEAT_GOLDEN_DIR_DEFAULT "/../../docs/";
  const std::string page = scratch::read_file(docs + "evidence.md");
  const std::size_t begin = page.find("## On definitions");
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
