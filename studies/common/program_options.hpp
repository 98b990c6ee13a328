// What the options of a program that compares methods have besides its own.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace studies::common {

struct program_options {
  std::vector<std::string> left_out;  // names of methods that are not run
  std::string out;                    // the folder of the results
  std::string data;                   // the folder with what ./run --fetch brings
  int threads = 1;
  bool report = true;
};

// If there is nothing to run (--help, --list, a mistake), everything has been printed and `exit_code` is
// set instead.
template <class Options>
struct parsed_options {
  std::optional<Options> wanted;
  int exit_code = 0;
};

}  // namespace studies::common
