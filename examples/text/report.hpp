// The report: one HTML file with tables and figures inside, and the files that figures are made of.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "experiment.hpp"

namespace sentiment {

// The results on one set at one rank.
struct table_of_set {
  const set_description* set;
  int rank;
  std::vector<experiment::result> results;
};

struct report_contents {
  const options* wanted;
  const experiment* done;
  std::vector<table_of_set> tables;
  std::string incomplete;  // why not all is there; empty if it is
};

// What the tables do not say and a reader has to know, one paragraph each.
std::vector<std::string> caveats(const report_contents& c);

// Writes report.html and figures/ to the directory. Returns what to tell the user. Without gnuplot
// the report has tables only. Throws std::runtime_error if a file cannot be written.
std::string write_report(const std::filesystem::path& directory, const report_contents& c);

}  // namespace sentiment
