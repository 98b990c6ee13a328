// bfloat16 as the storage of a CUDA backend: cuda<float, cuda_bf16> keeps frozen weights in it, and their
// products are cublasGemmEx's with sums in float.
#pragma once
#include <cuda_bf16.h>

#include "backend.hpp"

namespace preheat {

using cuda_bf16 = __nv_bfloat16;

template <>
struct cuda_storage_type<cuda_bf16> {
  static constexpr const char* name = "BF16";
  static constexpr cudaDataType_t type = CUDA_R_16BF;
};

template <>
struct cuda_kernels::computed<cuda_bf16> {
  using type = float;
};

}  // namespace preheat
