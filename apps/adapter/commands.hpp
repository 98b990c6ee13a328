// The commands of preheat-adapter, one a source file. Each throws invalid_argument or io_error for bad
// input before anything is written.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <preheat/convert/concatenate.hpp>

#include "job.hpp"

namespace apps::adapter {

// B·A of a preheated adapter gives the directions of a low-rank start.
struct hrp_options : common_options {
  std::filesystem::path adapter;
  std::filesystem::path initial;  // the adapter before preheating; empty: B was 0
  index_t rank = 0;
  preheat::singular_side side = preheat::singular_side::automatic;
  double row_norm = 1;
};
void hrp(const hrp_options& options);

// The best adapter of a lower rank for a weighted sum of adapters; or PEFT's linear and cat.
struct reduce_options : common_options {
  using kind = preheat::combination;
  std::vector<std::filesystem::path> adapters;
  std::vector<double> weights;  // empty: 1 each
  index_t rank = 0;             // 0: as many as the other criteria ask for
  double energy = 0;
  double ratio = 0;
  kind type = kind::svd;
};
void reduce(const reduce_options& options);

// Starts from a base model's weights.
struct init_options : common_options {
  enum class kind { pissa, milora, olora, orthogonal };
  kind type = kind::pissa;
  std::filesystem::path base;
  std::filesystem::path residual;  // where the base without the adapter's product goes
  std::string targets;             // a regular expression that matches the whole name of a module
  index_t rank = 0;
  double alpha = 0;  // 0: the rank
  bool rslora = false;
  bool exact = false;
};
void init(const init_options& options);

// An adapter on a residual base as plain LoRA on the original one.
struct convert_options : common_options {
  std::filesystem::path adapter;
  std::filesystem::path initial;
  index_t rank = 0;  // 0: r + r₀, exactly
};
void convert(const convert_options& options);

// The base with the adapter in it.
struct merge_options : common_options {
  std::filesystem::path adapter;
  std::filesystem::path base;
};
void merge(const merge_options& options);

// Spectra and subspaces.
struct inspect_options : common_options {
  std::filesystem::path adapter;
  std::filesystem::path other;  // empty: one adapter alone
  std::filesystem::path plot;   // a picture; empty: none
};
void inspect(const inspect_options& options);

// An adapter of random numbers with the shapes of a Llama model, to measure with.
struct generate_options : common_options {
  std::string shape = "llama-7b";
  index_t rank = 128;
};
void generate(const generate_options& options);

}  // namespace apps::adapter
