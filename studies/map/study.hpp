// The questions of the map, in the order in which they are asked, and what answers them.
//
//   map        every kind of preheating × preheating rank × share of the steps, preheating charged
//   choice     the kind, rank and share that validation data prefer; then the size of the rows
//   energy     how much of full fine-tuning's ΔW the directions hold
//   confirmed  the choice on shifts that chose nothing
#pragma once
#include <string>
#include <vector>

#include "choice.hpp"
#include "trials.hpp"

namespace studies::map {

struct amount {
  trial_settings trials;
  int bases = 5;  // behind every interval
  int confirm_bases = 10;
  bool full = false;   // all kinds at all lengths and sizes
  bool quick = false;  // few of everything: to see that it works, not to conclude
};

// What is varied. Steps of preheating are a share of the run's, at least 1.
std::vector<start_config> all_kinds();
std::vector<int> preheating_ranks(const amount& a);
std::vector<double> shares(const amount& a);
int preheating_steps(double share, int steps);

// A preheated start of this kind, with its rank and its steps set.
start_config preheated_config(start_config kind, int rank, double share, int steps);
// Random directions that a start is compared with: orthonormal rows of the same size.
start_config random_like(const start_config& c);

// Where every kind is tried; those marked choose.
struct map_setup {
  setup at;
  bool chooses;
  std::vector<start_config> kinds;
};
std::vector<map_setup> map_setups(const amount& a);
// Its preheated starts: every kind at every rank and share.
std::vector<start_config> configs_of(const map_setup& m, const amount& a);

// A mean difference over bases with its interval: of `better` minus `than`, paired.
common::estimate paired(const std::vector<double>& better, const std::vector<double>& than);
inline common::estimate gain(const trials& t, const setup& p, const start_config& c,
                             const start_config& reference) {
  return paired(t.of(p, c).test_accuracy, t.of(p, reference).test_accuracy);
}

// Best first.
std::vector<scored_config> rank_configs(const trials& t, const amount& a);
// Sizes of the rows. 0: the init's own.
std::vector<double> row_norms(const amount& a);
// Starts that are compared at every size: the chosen one, and random ones.
std::vector<start_config> starts_by_size(const scored_config& chosen, const amount& a, int steps);
struct size_choice {
  double norm = 1;
  double score = 0;  // as in scored_config, against LoRA with Kaiming's A
};
// Best first.
std::vector<size_choice> rank_sizes(const trials& t, const scored_config& chosen, const amount& a);

std::vector<setup> confirming_setups(const amount& a);
// LoRA as PEFT starts it, random directions at the chosen size, and the choice.
std::vector<start_config> confirmed_configs(const scored_config& chosen, double norm, int steps);

struct energy_row {
  start_config start;
  std::vector<double> at_start{};  // a base each
  std::vector<double> at_end{};
};
struct energy_table {
  std::vector<energy_row> rows;
  std::vector<double> best;  // that directions of the main rank could hold
};
// On the rotated digits. Throws std::runtime_error when stopped.
energy_table measure_energies(trials& t, const amount& a, apps::console::progress_bar& bar);

}  // namespace studies::map
