// The report: one HTML file with tables, figures and definitions inside, the same without figures as
// Markdown, and the files that figures are made of.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "experiment.hpp"

namespace studies::lm {

// The results at one rank.
struct table_of_rank {
  int rank;
  std::vector<experiment::result> results;
};

struct report_contents {
  const options* wanted;
  const experiment* done;
  int runs_at_a_time = 1;
  std::vector<table_of_rank> tables{};
  std::string incomplete{};  // why not all is there; empty if it is
  std::string left_out{};    // for lack of time
};

// "definitions of 87654 words to train on, …"
std::string data_of(const data_set& set);

std::string console_table(const report_contents& c, const table_of_rank& t);

// All rows, numbers in full, empty where there is none. Throws std::runtime_error if it cannot.
void write_tables(const std::filesystem::path& path, const report_contents& c);

// What the tables do not say and a reader has to know, one paragraph each.
std::vector<std::string> caveats(const report_contents& c);

// What the tables say, a sentence a method and table. A difference whose interval has 0 in it is said
// not to be shown.
std::vector<std::string> findings(const report_contents& c);

// Losses during the runs, and test loss and drift against learning rate; a panel a rank.
std::vector<apps::console::picture> figures_of(const report_contents& c);

// Writes report.html, report.md and figures/ to the directory. Returns what to tell the user. Without
// gnuplot the report has tables only. Throws std::runtime_error if a file cannot be written.
std::string write_report(const std::filesystem::path& directory, const report_contents& c);

}  // namespace studies::lm
