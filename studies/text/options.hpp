// The command line.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "methods.hpp"

namespace studies::text {

// How much is computed; each number can be changed alone on the command line.
struct preset {
  const char* name;
  std::vector<std::string> sets;
  std::vector<int> ranks;
  bool all_methods;
  int seeds;                  // over which intervals are taken
  std::vector<double> rates;  // learning rates, a geometric grid
  int most_added_rates;       // by which a method's grid may grow when its best rate is at the edge
  int steps;
  int batch;
  int evaluations;
  part_sizes sizes;
  double minutes;  // no run is begun that would end later; 0: no limit
};

// At most 30 minutes on 2 cores.
extern const preset reduced_preset;
// A minute or two on 2 cores: to see that everything works, not to draw conclusions.
extern const preset quick_preset;
// Everything: a day and more.
extern const preset full_preset;

struct options {
  std::vector<method_entry> methods;  // in the order of the list
  std::vector<std::string> left_out;  // names of those that are not run
  std::vector<const set_description*> sets;
  preset amount;
  training_settings training;
  std::string out;
  std::string data;  // the folder with minilm and sentiment
  int threads = 1;
  bool report = true;
};

// Reads the command line. If there is nothing to run (--help, --list, a mistake), everything has
// been printed and `exit_code` is set instead.
struct parsed {
  std::optional<options> wanted;
  int exit_code = 0;
};
parsed parse(int argc, const char* const* argv);

}  // namespace studies::text
