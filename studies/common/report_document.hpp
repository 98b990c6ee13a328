// A study's report: its parts as text, and what writes them as one HTML page with the figures inside,
// and as Markdown without them.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "apps/console/gnuplot.hpp"
#include "comparison.hpp"

namespace studies::common {

struct document_table {
  std::string title;
  std::vector<std::string> heads;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> row_titles{};  // shown over a row; none, or one for each
  bool of_texts = false;                  // long ones: aligned to the left, in several lines
};

struct report_document {
  std::string title;
  std::string heading;
  std::string incomplete;  // why not all is there; empty if it is
  std::string setting;     // what was run, in one paragraph
  std::vector<document_table> tables;
  std::vector<std::string> findings;
  std::vector<document_table> more_tables;  // after the figures
  std::vector<std::string> caveats;
  std::string credits;
};

// Draws the pictures into figures/ of the directory and writes report.html and report.md. Returns what
// to tell the user. Without gnuplot the report has tables only. Throws std::runtime_error if a file
// cannot be written.
std::string write_report(const std::filesystem::path& directory, const report_document& document,
                         const std::vector<apps::console::picture>& pictures);

// "a; b"
std::string listed(const std::vector<std::string>& texts);
// "+0.012 ± 0.020"
std::string with_sign(const estimate& e, int decimals);
// "0.002*", with the star if no better rate was tried on one side; "–" where there is none.
std::string rate_cell(const summary_row& row);
// A difference whose interval has 0 in it is said not to be shown.
inline const char* verdict(const estimate& difference) {
  const char* const direction = difference.mean > 0 ? "higher" : "lower";
  return std::abs(difference.mean) > difference.half ? direction : "not shown to differ";
}

// How much a number of a method's runs is above that of the reference's, seed by seed; of nothing for
// the reference itself, or without it.
template <class Method, class Number>
estimate above_reference(const std::vector<method_result<Method>>& results,
                         const method_result<Method>& r, Number number,
                         double confidence = 0.95) {
  for (const method_result<Method>& other : results) {
    if (other.method->id == reference_method && &other != &r) {
      return paired_difference(r.runs, other.runs, number, confidence);
    }
  }
  return {};
}

// "3 seeds": those that the tables hold, which are fewer than wanted if the work was stopped or the time
// too short.
template <class Tables>
std::string seeds_of(const Tables& tables, int wanted) {
  int fewest = wanted;
  int most = tables.empty() ? wanted : 0;
  for (const auto& t : tables) {
    int seeds = 0;
    for (const auto& r : t.results) {
      seeds = std::max(seeds, r.summary.bases);  // none for a method that failed
    }
    fewest = std::min(fewest, seeds);
    most = std::max(most, seeds);
  }
  return fewest == most ? fmt::format("{} {}", most, most == 1 ? "seed" : "seeds")
                        : fmt::format("{} to {} seeds", fewest, most);
}

// The table of one problem: one row per method, whose title is its citation.
template <class Method, class Cells>
document_table table_of(const std::string& title, const std::vector<std::string>& heads,
                        const std::vector<method_result<Method>>& results, const Cells& cells) {
  document_table t{title, heads, {}};
  for (const method_result<Method>& r : results) {
    t.rows.push_back(cells(r));
    t.row_titles.push_back(r.method->citation);
  }
  return t;
}

}  // namespace studies::common
