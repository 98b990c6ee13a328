// The command line.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "methods.hpp"

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
  double minutes;  // no run is begun that would end later; 0: no limit
};

// At most 30 minutes on 2 cores.
extern const preset reduced_preset;
// Three minutes at most on 2 cores: to see that everything works, not to draw conclusions.
extern const preset quick_preset;
// Everything: days.
extern const preset full_preset;

struct options {
  std::vector<method_entry> methods;  // in the order of the list
  std::vector<std::string> left_out;  // names of those that are not run
  preset amount;
  training_settings training;
  std::string out;
  std::string data;  // the folder with model.gguf, wordnet and literature
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

}  // namespace studies::lm
