// The CPU as the place where the program computes.
#include "studies/lm/backend.hpp"

#include <fstream>
#include <string>

#include "apps/console/thread_clock.hpp"
#include "studies/common/results.hpp"

namespace studies::lm {

backend& the_backend() {
  static backend be;
  return be;
}

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

double computing_seconds() {
  return apps::console::thread_seconds();
}

double peak_memory_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stod(line.substr(6)) / 1000 * 1.024;  // KiB
    }
  }
  return common::not_a_number;
}

void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

}  // namespace studies::lm
