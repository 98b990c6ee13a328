// What a finished run is written as: a PEFT folder with a README and the log, a GGUF adapter, a merged
// model. Each appears whole or not at all.
#pragma once
#include <filesystem>
#include <string>

#include "adapter.hpp"
#include "model.hpp"

namespace apps::finetune {

struct adapter_files {
  std::string card;  // README.md
  std::string log;   // log.jsonl
  bool rslora = false;
  bool curves = false;  // pictures of the log's losses
};

// Writes the PEFT folder to a place of its own, which is then moved to `out`. `staging` is a folder on the
// same disk. Errors: io_error.
void save_adapter(const any_adapter& adapter, base_model& model, const adapter_files& files,
                  const std::filesystem::path& staging, const std::filesystem::path& out);
// Errors: io_error: `out` exists, or is on another disk.
void move_adapter(const std::filesystem::path& folder, const std::filesystem::path& out);

// Errors: invalid_argument for DoRA and biases, which such a file cannot hold; io_error.
void save_gguf(const any_adapter& adapter, base_model& model, const std::filesystem::path& path);

// The model with the weights that `net` has now, in the dtypes of its files, with its other files. Errors:
// io_error: the model is not a folder.
void save_model(network& net, const base_model& model, const std::filesystem::path& out);

// What cannot be saved is refused before the training. Errors: invalid_argument, io_error.
void require_can_save(const base_model& model, const std::filesystem::path& gguf,
                      const std::filesystem::path& merge);

}  // namespace apps::finetune
