// The report: one HTML file with tables and figures inside, the same without figures as Markdown, and
// the files that figures are made of.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "apps/console/gnuplot.hpp"
#include "experiment.hpp"

namespace studies::text {

// The results on one set at one rank.
struct table_of_set {
  const set_description* set;
  int rank;
  std::vector<experiment::result> results;
};

struct report_contents {
  const options* wanted;
  const experiment* done;
  int runs_at_a_time = 1;
  std::vector<table_of_set> tables{};
  std::string incomplete{};  // why not all is there; empty if it is
  std::string left_out{};    // for lack of time
};

// What the tables do not say and a reader has to know, one paragraph each.
std::vector<std::string> caveats(const report_contents& c);

// What the tables say, one sentence per method and table. A difference whose interval has 0 in it is said
// not to be shown.
std::vector<std::string> findings(const report_contents& c);

// "movie reviews, rank 2"
std::string title_of(const table_of_set& t);

// Of the last part of the run.
double last_training_loss(const common::run_record& r);

// Accuracy, losses during the run, and accuracy and loss against learning rate; a picture a rank, a
// panel a set.
std::vector<apps::console::picture> figures_of(const report_contents& c);

// Writes report.html, report.md and figures/ to the directory. Returns what to tell the user. Without
// gnuplot the report has tables only. Throws std::runtime_error if a file cannot be written.
std::string write_report(const std::filesystem::path& directory, const report_contents& c);

}  // namespace studies::text
