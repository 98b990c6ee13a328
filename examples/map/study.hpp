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

namespace preheat_map {

struct amount {
  trial_settings trials;
  int bases = 5;  // behind every interval
  int confirm_bases = 10;
  bool full = false;   // all kinds at all lengths and sizes
  bool quick = false;  // few of everything: to see that it works, not to conclude
};

// What is varied. Steps of preheating are a share of the run's, at least 1.
std::vector<cell> all_kinds();
std::vector<int> preheating_ranks(const amount& a);
std::vector<double> shares(const amount& a);
int preheating_steps(double share, int steps);

// A preheated cell with its coordinates in place.
cell placed(cell kind, int rank, double share, int steps);
// Random directions that a cell is compared with: orthonormal rows of the same size.
cell random_like(const cell& c);

// Where every kind is tried; those marked choose.
struct map_place {
  place at;
  bool chooses;
  std::vector<cell> kinds;
};
std::vector<map_place> map_places(const amount& a);
// Its preheated cells: every kind at every rank and share.
std::vector<cell> cells_of(const map_place& m, const amount& a);

// A mean difference over bases with its interval: of `better` minus `than`, paired.
comparison::estimate paired(const std::vector<double>& better, const std::vector<double>& than);
inline comparison::estimate gain(const trials& t, const place& p, const cell& c,
                                 const cell& reference) {
  return paired(t.of(p, c).test_accuracy, t.of(p, reference).test_accuracy);
}

// Best first.
std::vector<candidate> rank_candidates(const trials& t, const amount& a);
// Sizes of the rows. 0: the init's own.
std::vector<double> row_norms(const amount& a);
// Starts that are compared at every size: the chosen one, and random ones.
std::vector<cell> starts_by_size(const candidate& chosen, const amount& a, int steps);
struct size_choice {
  double norm = 1;
  double score = 0;  // as a candidate's, against LoRA with Kaiming's A
};
// Best first.
std::vector<size_choice> rank_sizes(const trials& t, const candidate& chosen, const amount& a);

std::vector<place> confirming_places(const amount& a);
// LoRA as PEFT starts it, random directions at the chosen size, and the choice.
std::vector<cell> confirmed_cells(const candidate& chosen, double norm, int steps);

struct energy_row {
  cell start;
  std::vector<double> at_start{};  // a base each
  std::vector<double> at_end{};
};
struct energy_table {
  std::vector<energy_row> rows;
  std::vector<double> best;  // that directions of the main rank could hold
};
// On the rotated digits. Throws std::runtime_error when stopped.
energy_table measure_energies(trials& t, const amount& a, console::progress_bar& bar);

}  // namespace preheat_map
