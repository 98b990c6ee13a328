// Where the program computes: preheat-lm on the CPU; preheat-lm-cuda, of the same sources, for which
// PREHEAT_LM_CUDA is defined, on a GPU. There nvcc compiles the files that have kernels: those that see
// network.hpp's implementation, fit or the reading of weights. `preheat-lm --device cuda …` becomes the
// other program, which lies beside it (main.cpp).
#pragma once
#if defined(PREHEAT_LM_CUDA)
#include <preheat/cuda/backend.hpp>
#else
#include <preheat/cpu/backend.hpp>
#endif

namespace studies::lm {

#if defined(PREHEAT_LM_CUDA)
using backend = preheat::cuda<float>;
inline constexpr bool computes_on_gpu = true;
#else
using backend = preheat::cpu<float>;
inline constexpr bool computes_on_gpu = false;
#endif

// The CPU's keeps nothing between calls, so all threads share one. A GPU's is for one thread: on a GPU runs are
// spread over processes. Errors: cuda_error: there is no GPU.
backend& the_backend();
// Runs are spread over threads by this program, so a BLAS must not start its own.
void use_one_blas_thread();

// Seconds, from differences, of the calling thread's processor; of the clock where a GPU works.
double computing_seconds();

// The most memory that the process had since the last call of `forget_peak`, in MB; NaN where the
// system does not say. All runs at a time are in it. On a GPU that of its matrices.
double peak_memory_mb();
void forget_peak();

}  // namespace studies::lm
