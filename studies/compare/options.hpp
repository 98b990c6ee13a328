// The command line.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "methods.hpp"

namespace studies::compare {

// How much is computed; each number can be changed alone on the command line.
struct preset {
  int bases;                  // pretrained networks, over which intervals are taken
  int seeds;                  // runs a base
  std::vector<double> rates;  // learning rates, a geometric grid
  int most_added_rates;       // by which a method's grid may grow when its best rate is at the edge
  int steps;
  int pretraining_steps;
};

// At most 3 minutes on 2 cores.
inline const preset default_preset = {.bases = 5,
                                      .seeds = 1,
                                      .rates = {3e-3, 1e-2, 3e-2, 1e-1},
                                      .most_added_rates = 3,
                                      .steps = 150,
                                      .pretraining_steps = 300};

// At most 20 seconds on 2 cores: to see that everything works, not to draw conclusions.
inline const preset quick_preset = {.bases = 2,
                                    .seeds = 1,
                                    .rates = {1e-2, 3e-2, 1e-1},
                                    .most_added_rates = 0,
                                    .steps = 30,
                                    .pretraining_steps = 120};

struct options {
  std::vector<method_entry> methods;  // in the order of the list
  std::vector<shift> shifts;
  std::vector<int> ranks;
  preset amount;
  training_settings training;
  std::string out = "results";
  std::string data;  // empty: look for it
  int threads = 1;
  bool plots = true;
};

// Reads the command line. If there is nothing to run (--help, --list, a mistake), everything has
// been printed and `exit_code` is set instead.
struct parsed {
  std::optional<options> wanted;
  int exit_code = 0;
};
parsed parse(int argc, char** argv);

}  // namespace studies::compare
