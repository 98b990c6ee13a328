// The methods by name: each a function that trains it, compiled in a file of its own. The list is
// studies/common/catalogue.txt, the one that the studies compare.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <preheat/train/options.hpp>
#include <preheat/train/report.hpp>

#include "adapter.hpp"
#include "batches.hpp"
#include "studies/common/catalogue.hpp"

namespace apps::finetune {

// What a method works on.
struct training_job {
  network* net = nullptr;  // its weights change if the method changes the base
  batches* data = nullptr;
  const network::batch_type* validation = nullptr;  // some training examples if there is no other
  preheat::fit_options options{};                   // but for checkpoints
  double rate = 0;
  bool only_start = false;  // the adapter as it starts is the result, if it is plain LoRA
  // Keeps a state from which the run can go on; the last one that was kept, if any was.
  std::function<void(const preheat::training_state&)> keep{};
  std::function<std::optional<preheat::training_state>()> last{};
  // The same of the state after the best evaluation, which is then the result; empty: the last one is.
  std::function<bool()> is_best{};  // the step just done
  std::function<void(const preheat::training_state&)> keep_best{};
  std::function<std::optional<preheat::training_state>()> best{};
};

struct trained {
  preheat::fit_status status = preheat::fit_status::completed;
  index_t steps = 0;  // of the parameters in `adapter`
  index_t calibration_steps = 0;
  index_t trainable_parameters = 0;
  std::vector<double> losses;
  // On the original base. Empty: the method leaves no adapter but changes the network.
  std::optional<any_adapter> adapter{};
  bool converted = false;       // of a kind that PEFT lacks, and plain LoRA now
  bool nothing_finite = false;  // the parameters are not, and no state was kept
};

// How a method ends.
enum class outcome_kind {
  adapter,  // an adapter on the base as it was
  product,  // the same after the product of the start was taken out of the base: of twice the rank
  weights   // other weights of the base
};

// The numbers that a method holds besides the base: parameters, gradients and moments, in those of a pair
// of factors of the rank and in those of W itself; at its start, and later.
struct method_memory {
  double pairs = 4;
  double matrices = 0;
  double start_pairs = 0;  // of this multiple of the rank
  double start_rank = 1;
  double start_matrices = 0;
};

struct method_entry {
  std::string id;
  std::string name;
  std::string citation;
  bool by_default = true;  // for console::print_methods
  outcome_kind outcome = outcome_kind::adapter;
  bool changes_base = false;
  bool has_factors = true;
  bool fixed_rank = true;  // in a layer: the rank policy neither chooses nor changes it
  method_memory memory{};
  std::function<trained(const training_job&)> train{};
};

// In the order of the list.
std::vector<method_entry> all_methods();

}  // namespace apps::finetune
