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

// What tables have of a method's runs at its chosen rate, besides its summary_row.
struct method_means {
  common::estimate drift;  // loss
  double tokens_per_second = 0;
  double memory = 0;
  int calibration = 0;  // steps
};
method_means means_of(const experiment::result& r);
// What a run measured of this name (methods.hpp); NaN without.
double measure_of(const common::run_record& r, const char* name);
double drift_of(const common::run_record& r);
// The mean over the runs at the chosen rate.
template <class Number>
double mean_at_rate(const experiment::result& r, Number number) {
  return common::mean(common::values_of(common::by_base(r.runs, r.summary.rate, number)));
}

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
