// How PEFT names the tensors of a VeRA folder (tuners/vera of PEFT 0.21):
//
//   base_model.vera_A, base_model.vera_B          the pair of all layers, r×n' and m'×r
//   base_model.model.<module>.vera_lambda_d, …_b  the vectors of a layer, r and m entries
//
// n' and m' are the largest in and out of the adapted modules. The config has peft_type "VERA", no α.
#pragma once
#include <string>
#include <string_view>

#include "tensor_names.hpp"

namespace preheat::peft::detail {

inline constexpr std::string_view vera_type = "VERA";
inline constexpr std::string_view vera_A = "base_model.vera_A";
inline constexpr std::string_view vera_B = "base_model.vera_B";
inline constexpr std::string_view lambda_d = ".vera_lambda_d";
inline constexpr std::string_view lambda_b = ".vera_lambda_b";

inline std::string vera_tensor(const std::string& module, std::string_view vector) {
  return std::string(module_prefix) + module + std::string(vector);
}

}  // namespace preheat::peft::detail
