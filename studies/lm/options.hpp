// The command line.
#pragma once
#include <string>
#include <vector>

#include "methods.hpp"
#include "studies/common/program_options.hpp"
#include "task.hpp"

namespace studies::lm {

// How much is computed; each number can be changed alone on the command line.
struct preset {
  const char* name;
  std::vector<int> ranks;
  std::vector<std::string> methods;  // empty: those of the reduced grid; "all"
  int seeds;                         // over which intervals are taken
  std::vector<double> rates;         // learning rates, a geometric grid
  int most_added_rates;  // by which a method's grid may grow when its best rate is at the edge
  int steps;
  int batch;
  int samples;
  part_sizes sizes;
  double minutes;  // what would end later is left out; 0: no limit
};

// At most 30 minutes on 2 cores.
extern const preset reduced_preset;
// Three minutes at most on 2 cores: to see that everything works, not to draw conclusions.
extern const preset quick_preset;
// Everything: days.
extern const preset full_preset;

struct options : common::program_options {
  const task* taught = &tasks.front();
  std::vector<std::string> report_of;  // files of runs that a report is made of, and nothing is run
  std::string figures;                 // where figures of the report go; empty: none
  std::vector<method_entry> methods;   // in the order of the list
  preset amount;
  training_settings training;
  bool fingerprints = true;  // of the methods, in the settings of their runs
};

using parsed = common::parsed_options<options>;
// Reads the command line.
parsed parse(int argc, const char* const* argv);

}  // namespace studies::lm
