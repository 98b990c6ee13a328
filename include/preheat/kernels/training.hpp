// The parts of training that preheat::kernels has compiled: plain LoRA, and LoRA with a frozen A (HRP
// preheats with it), on the default backends.
#pragma once
#include "../core/archive.hpp"
#include "../cpu/compiled_backends.hpp"
#include "../operators/adapted.hpp"
#include "../train/gradient_all_reduce.hpp"

// Explicit instantiations for a scalar, or with EXTERN = extern their declarations.
#define PREHEAT_ADAPTED(EXTERN, T, ...)                                                  \
  EXTERN template view<T> adapted<cpu<T>, __VA_ARGS__>::forward(index_t, view<const T>); \
  EXTERN template view<T> adapted<cpu<T>, __VA_ARGS__>::backward(index_t, view<const T>, \
                                                                 view<const T>, bool);
#define PREHEAT_TRAINING(EXTERN, T)                             \
  EXTERN template class gradient_all_reduce<cpu<T>>;            \
  EXTERN template void archive<cpu<T>>::matrix(cpu_matrix<T>&); \
  PREHEAT_ADAPTED(EXTERN, T, adapter::lora)                     \
  PREHEAT_ADAPTED(EXTERN, T, adapter::low_rank<true, false>)    \
  PREHEAT_ADAPTED(EXTERN, T, adapter::low_rank<false, true>)

namespace preheat {

PREHEAT_TRAINING(extern, float)
PREHEAT_TRAINING(extern, double)

}  // namespace preheat
