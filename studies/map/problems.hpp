// What the starts are tried on: the digits' shifts, and linear teachers of known spectrum.
#pragma once
#include <memory>
#include <string>

#include "start_config.hpp"
#include "studies/common/results.hpp"
#include "studies/digits/base_models.hpp"
#include "studies/digits/digits.hpp"

namespace studies::map {

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
common::run_outcome run_on_teacher(const start_config& c, const std::string& spectrum,
                                   const digits::training_settings& s,
                                   const common::run_definition& run);

common::run_outcome run_on_digits(const start_config& c, const digits::base_model& base,
                                  const digits::shift_data& data,
                                  const digits::training_settings& s,
                                  const common::run_definition& run);

// Shares of the energy ‖ΔW‖² of full fine-tuning, over all layers, that lie in the rows' space of
// A: at the start of the run and at its end.
struct energy {
  double at_start = 0;
  double at_end = 0;
};
energy measure_energy(const start_config& c, const digits::base_model& base,
                      const digits::base_model& fully_tuned, const digits::shift_data& data,
                      const digits::training_settings& s, const common::run_definition& run);
// The largest share that any directions can hold.
double best_energy(const digits::base_model& base, const digits::base_model& fully_tuned);
std::shared_ptr<const digits::base_model> tune_fully(const digits::base_model& base,
                                                     const digits::shift_data& data,
                                                     const digits::training_settings& s,
                                                     const common::run_definition& run);

}  // namespace studies::map
