// What the cells are tried on: the digits' shifts, and linear teachers of known spectrum.
#pragma once
#include <memory>
#include <string>

#include "../compare/bases.hpp"
#include "../compare/digits.hpp"
#include "../compare/results.hpp"
#include "cell.hpp"

namespace preheat_map {

inline constexpr int main_rank = 2;

// A linear teacher y = M·x + noise, x ~ N(0, I), fresh batches of 64; the noise is as large as the
// signal. The student starts at W = 0 with a LoRA of rank 2, s = 2. Spectra of M (64×80):
// "exponential" σ_i = 4·0.7^i, "polynomial" 4/(i + 1), "flat" 1.
inline constexpr const char* spectra[] = {"exponential", "polynomial", "flat"};

// The share of ‖M‖² that rank 2 can explain at best.
double best_share(const std::string& spectrum);

// A run against two teachers of the same spectrum: the losses, ‖M − ΔW‖²/‖M‖², of the first choose
// (validation), those of the second are measured (test; its accuracy is 1 − loss, the share
// explained).
comparison::run_outcome run_on_teacher(const cell& c, const std::string& spectrum,
                                       const comparison::training_settings& s,
                                       const comparison::run_definition& run);

comparison::run_outcome run_on_digits(const cell& c, const comparison::pretrained_base& base,
                                      const comparison::shift_data& data,
                                      const comparison::training_settings& s,
                                      const comparison::run_definition& run);

// Shares of the energy ‖ΔW‖² of full fine-tuning, over all layers, that lie in the rows' space of
// A: at the start of the run and at its end.
struct energy {
  double at_start = 0;
  double at_end = 0;
};
energy measure_energy(const cell& c, const comparison::pretrained_base& base,
                      const comparison::pretrained_base& fully_tuned,
                      const comparison::shift_data& data, const comparison::training_settings& s,
                      const comparison::run_definition& run);
// The largest share that any directions can hold.
double best_energy(const comparison::pretrained_base& base,
                   const comparison::pretrained_base& fully_tuned);
std::shared_ptr<const comparison::pretrained_base> tune_fully(
    const comparison::pretrained_base& base, const comparison::shift_data& data,
    const comparison::training_settings& s, const comparison::run_definition& run);

}  // namespace preheat_map
