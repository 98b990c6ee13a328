// What the command lines of the programs that compare methods share.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "text_table.hpp"

namespace apps::console {

// The methods to choose from; those that are not run by default are marked +.
template <class Entry>
void print_methods(const std::vector<Entry>& methods) {
  table t({{"--methods", align::left}, {"name", align::left}, {"what it is", align::left}});
  for (const Entry& m : methods) {
    t.add({m.by_default ? m.id : m.id + " +", m.name, m.citation});
  }
  fmt::print("{}", t.to_string());
}

// What the program computes with, and advice when that is slower than it has to be.
inline void print_backend(const std::string& description, const std::string& workers) {
  fmt::print("{} on {}\n", description, workers);
  if (description.find("Prescott") != std::string::npos) {
    fmt::print(
        "note: this OpenBLAS does not know the processor and uses its slowest kernels; the "
        "environment variable OPENBLAS_CORETYPE=Haswell, or SkylakeX with AVX-512, doubles the "
        "speed\n");
  }
}

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace apps::console
