// What an experiment needs before its first run: the files it reads, its methods' fingerprints, and its
// groups of runs.
#pragma once
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "apps/console/pool.hpp"
#include "timed_grid.hpp"

namespace studies::common {

// A file, or a folder, of a study's data. Throws std::runtime_error with the advice if it is not there.
inline std::filesystem::path part_of(const std::string& data, const char* name,
                                     const std::string& advice) {
  const std::filesystem::path part = std::filesystem::path(data) / name;
  if (!std::filesystem::exists(part)) {
    throw std::runtime_error("there is no " + part.string() + "; " + advice);
  }
  return part;
}

// One for each method, by several threads.
template <class Method, class Fingerprint>
std::vector<std::string> fingerprints(int threads, const std::vector<Method>& methods,
                                      const Fingerprint& fingerprint) {
  std::vector<std::string> all(methods.size());
  apps::console::run_jobs(threads, methods.size(),
                          [&](std::size_t i) { all[i] = fingerprint(methods[i]); });
  return all;
}

// A group for every method and rank. `shared` has the problem's name, the steps, the settings that all
// methods share and the number of seeds; run(method, definition) does a run. The methods must outlive
// the grid.
template <class Problem, class Method, class Amount, class Run>
void add_groups(timed_grid<Problem, Method>& runs, const Problem& on,
                const std::vector<Method>& methods, const std::vector<std::string>& fingerprints,
                const Amount& amount, const grid_group& shared, const Run& run) {
  for (std::size_t i = 0; i < methods.size(); ++i) {
    const Method& m = methods[i];
    grid_group group = shared;
    group.method = m.id;
    group.name = m.name;
    group.settings += "; fingerprint " + fingerprints[i];
    group.rates = m.has_rate ? amount.rates : std::vector<double>{0};
    group.bases = m.by_chance ? amount.seeds : 1;
    group.run = [run, &m](const run_definition& definition) { return run(m, definition); };
    for (const int rank : m.has_rank ? amount.ranks : std::vector<int>{0}) {
      group.rank = rank;
      runs.add(on, m, rank, group);
    }
  }
}

}  // namespace studies::common
