// The commands of preheat-adapter, one a source file. Each throws invalid_argument or io_error for bad
// input before anything is written.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <preheat/convert/concatenate.hpp>
#include <preheat/convert/intruders.hpp>
#include <preheat/convert/pruned_sum.hpp>

#include "base_model.hpp"
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
  enum class kind { svd, linear, cat, magnitude_prune, ties, dare_linear, dare_ties };
  std::string command = "reduce";  // or "combine"
  std::vector<std::filesystem::path> adapters;
  std::vector<double> weights;  // empty: 1 each
  index_t rank = 0;             // 0: as many as the other criteria ask for
  double energy = 0;
  double ratio = 0;
  kind type = kind::svd;
  double density = 0;  // of the kinds that prune
  preheat::majority sign = preheat::majority::total;
  bool remove_intruders = false;
  double intruder_scale = 0.75;  // 0 removes them whole
  std::filesystem::path base;    // that they are intruders to
  preheat::intruder_options intruders;
  std::vector<std::string> layers;  // "0-3=0.5": another weight for these blocks; 0 leaves them out
};
void reduce(const reduce_options& options);

// The LoRA of a full fine-tune.
struct extract_options : common_options {
  std::filesystem::path tuned;
  std::filesystem::path base;
  std::string targets;  // a regular expression on the whole name of a module; empty: all
  index_t rank = 0;
  double energy = 0;
  layout stored_as = layout::unknown;
  bool norms = false;
  bool biases = false;
  bool embeddings = false;
};
void extract(const extract_options& options);

// Starts from a base model's weights.
struct init_options : common_options {
  enum class kind { pissa, milora, olora, orthogonal };
  kind type = kind::pissa;
  std::filesystem::path base;
  std::filesystem::path residual;  // where the base without the adapter's product goes
  std::string targets;             // a regular expression that matches the whole name of a module
  index_t rank = 0;
  double alpha = 0;  // 0: the rank
  layout stored_as = layout::unknown;
  bool rslora = false;
  bool exact = false;
};
void init(const init_options& options);

// An adapter on a residual base as plain LoRA on the original one (with `initial`), or an adapter of
// whatever format as plain LoRA in another.
struct convert_options : common_options {
  enum class style { same, peft, kohya, diffusers, comfy, gguf };
  std::filesystem::path adapter;
  std::filesystem::path initial;
  index_t rank = 0;  // 0: r + r₀, exactly
  style to = style::same;
  std::filesystem::path base;  // for names, DoRA and the heads of GGUF; empty: none
  std::vector<std::string> map;
  std::string architecture;  // of a GGUF file; empty: the base's
};
void convert(const convert_options& options);

// The base with adapters in it, as a file or as a model's folder.
struct merge_options : common_options {
  std::vector<std::filesystem::path> adapters;
  std::vector<double> weights;  // empty: 1 each
  std::filesystem::path base;
  std::vector<std::string> map;  // OLD=NEW in the names of modules
  layout stored_as = layout::unknown;
};
void merge(const merge_options& options);

// Spectra and subspaces.
struct inspect_options : common_options {
  std::filesystem::path adapter;
  std::filesystem::path other;  // empty: one adapter alone
  std::filesystem::path plot;   // a picture; empty: none
  std::filesystem::path base;   // to find intruder dimensions against; empty: not
  preheat::intruder_options intruders;
};
void inspect(const inspect_options& options);

// An adapter of random numbers with the shapes of a Llama model, to measure with.
struct generate_options : common_options {
  std::string shape = "llama-7b";
  index_t rank = 128;
};
void generate(const generate_options& options);

}  // namespace apps::adapter
