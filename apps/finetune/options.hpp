// The command line of preheat-finetune.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <preheat/core/stored_matrix.hpp>

#include "backend.hpp"
#include "examples.hpp"

namespace apps::finetune {

inline constexpr int failure_status = 2;
inline constexpr double default_rate = 2e-4;

struct training_options {
  std::filesystem::path model, data, eval, out;
  std::filesystem::path gguf;   // a GGUF adapter too; empty: none
  std::filesystem::path merge;  // a model folder too; empty: none
  std::vector<std::string> methods{"lora"};
  std::vector<double> rates{default_rate};
  bool auto_rate = false;  // the rate by the curvature of the start
  int seeds = 1;
  std::uint64_t seed = 0;  // of the first run

  index_t rank = 16;
  double alpha = 0;                         // 0: twice the rank
  std::string rank_pattern, alpha_pattern;  // JSON objects, as in PEFT's adapter_config.json
  bool rslora = false;
  double dropout = 0;
  std::vector<std::string> targets{"all-linear"};

  index_t steps = 0;  // 0: by epochs
  double epochs = 1;
  index_t batch = 8;
  index_t accumulate = 1;
  bool pack = false;
  std::string schedule = "linear";
  double warmup = 0.03;  // of the steps
  double head_rate = 0;  // of an encoder's layer for classes; 0: the rate
  double clip = 1;
  index_t eval_every = 0;  // 0: a tenth of the steps
  index_t patience = 0;
  index_t checkpoint_every = 50;
  std::string recompute = "norms";
  reading_options reading{};

  preheat::weight_storage storage = preheat::weight_storage::dense;
  double memory = 0;    // bytes that it may take; 0: what the machine has to give
  bool curves = false;  // pictures of the losses
  int threads = 0;      // 0: one a processor, shared by the processes of mpirun
  std::string command;  // as it was typed
};

struct generating_options {
  std::filesystem::path model, adapter;
  std::vector<std::string> prompts;
  bool chat = false;
  std::string chat_form;
  index_t max_tokens = 64;
  double temperature = 0;
  double top_p = 1;
  std::uint64_t seed = 0;
  preheat::weight_storage storage = preheat::weight_storage::dense;
  int threads = 0;
};

// What is to be done: one of the two, or nothing but an exit code (--help, --list, a mistake), when
// everything has been printed.
struct parsed {
  std::optional<training_options> training;
  std::optional<generating_options> generating;
  int exit_code = 0;
  bool on_gpu = computes_on_gpu;    // --device
  bool in_bf16 = computes_in_bf16;  // --bf16
};
parsed parse(int argc, const char* const* argv);

}  // namespace apps::finetune
