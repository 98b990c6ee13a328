// Pictures of the results through gnuplot: accuracy, loss curves, accuracy against learning rate,
// each as SVG and PNG. The scripts and data stay beside the pictures, so that they can be changed
// by hand:
//
//   cd results/plots && gnuplot accuracy.gp
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "methods.hpp"
#include "studies/common/comparison.hpp"

namespace studies::compare {

// One line of the plots.
using plotted_group = common::method_result<method_entry>;
struct plotted_shift {
  std::string title;
  std::vector<plotted_group> groups;
};

// Writes accuracy.*, curves.* and rates.* (with `suffix` before the dot) to `directory`, one panel
// a shift, methods in the order of `methods`; the lines of the published systems have pictures of
// their own, curves-systems.* and rates-systems.*. Returns what to tell the user, where the pictures are
// or why there are none. Throws std::runtime_error if the files cannot be written.
std::string write_plots(const std::filesystem::path& directory, const std::string& suffix,
                        std::span<const method_entry> methods,
                        std::span<const plotted_shift> shifts);

}  // namespace studies::compare
