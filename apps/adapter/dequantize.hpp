// A quantized base as plain numbers, for a merge that says in which dtype it writes: NF4 and FP4 of bitsandbytes, FP8
// with its scales (or none), GGUF files of the decoders that are known.
//
//   NF4   W "x.weight" U8, two entries a byte     .absmax  .quant_map  .quant_state.bitsandbytes__nf4 (JSON)
//         doubly quantized absmax (U8)            .nested_absmax  .nested_quant_map
//   FP8   "x.weight" F8_E4M3 or F8_E5M2           "x.weight_scale_inv", "x.weight_scale", "x.scale_weight": of the
//                                                 whole, of a row, or of blocks (quantization_config)
//
// The numbers are written as F32 to a model's folder beside the output, which goes again: the merge rounds once.
#pragma once
#include <filesystem>

#include <preheat/safetensors/tensor_files.hpp>

namespace apps::adapter {

// Removes the folder at its end.
class dequantized_base {
 public:
  // Makes the folder "<out>.tmp-<process>-base" if the base is quantized in such a way, else nothing. Errors: io_error
  // or invalid_argument, naming the file and the tensor: a part that is missing or has another shape or dtype.
  dequantized_base(const std::filesystem::path& base, const std::filesystem::path& out);
  ~dequantized_base();
  dequantized_base(const dequantized_base&) = delete;
  dequantized_base& operator=(const dequantized_base&) = delete;

  // Where the plain numbers are: the base itself or the folder.
  const std::filesystem::path& path() const { return folder_.empty() ? base_ : folder_; }
  bool is_new() const { return !folder_.empty(); }

 private:
  std::filesystem::path base_;
  std::filesystem::path folder_;
};

// Whether a file begins as GGUF does.
bool is_gguf(const std::filesystem::path& path);

}  // namespace apps::adapter
