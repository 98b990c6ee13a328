// Where the program computes: on a CPU, or on a GPU. No other header depends on it.
//
// The same sources make two programs. preheat-finetune computes on the CPU; preheat-finetune-cuda, for which
// PREHEAT_FINETUNE_CUDA is defined and nvcc compiles the files that have kernels, on a GPU. Two, because each method is
// compiled for its backend: in one program they would all be there twice, and it would load CUDA's libraries
// on machines that have none. `preheat-finetune --device cuda …` replaces itself by the program of the GPU,
// which lies beside it, with the same words (console::become, main.cpp). With --bf16 too it becomes
// preheat-finetune-cuda-bf16, for which PREHEAT_FINETUNE_BF16 is defined besides.
#pragma once
#include <memory>
#include <string>

#include <preheat/core/backend.hpp>
#include <preheat/core/communicator.hpp>
#if defined(PREHEAT_FINETUNE_CUDA)
#include <preheat/cuda/mixed.hpp>
#else
#include <preheat/cpu/backend.hpp>
#endif

namespace apps::finetune {

#if defined(PREHEAT_FINETUNE_CUDA)
// Frozen weights are floats, or what --storage names; adapters, gradients and moments are floats always.
#if defined(PREHEAT_FINETUNE_BF16)
using Be = preheat::cuda_mixed<float, preheat::cuda_bf16>;
#else
using Be = preheat::cuda<float, preheat::cuda_bf16>;
#endif
inline constexpr bool computes_on_gpu = true;
#else
using Be = preheat::cpu<float>;
inline constexpr bool computes_on_gpu = false;
#endif
// Whether activations and their gradients are bfloat16.
inline constexpr bool computes_in_bf16 = sizeof(preheat::activation_of<Be>) == 2;
inline std::string description(const Be& be) {
  return be.describe() + (computes_in_bf16 ? ", activations in bf16" : "");
}

// The backend of this process, and the processes of mpirun with sums of the backend's memory, if they train
// `together`. `threads` is --threads, 0: not given. On a GPU each process of a machine takes the next of its
// devices.
class computer {
 public:
  // Errors: invalid_argument: threads for a GPU; several GPUs without NCCL. cuda_error: there is no GPU.
  computer(int threads, const preheat::process_group& host, bool together = true);
  ~computer();
  computer(const computer&) = delete;
  computer& operator=(const computer&) = delete;

  Be& backend() { return be_; }
  const preheat::process_group& processes() const { return processes_; }

 private:
  struct device_sums;
  Be be_;
  std::unique_ptr<device_sums> sums_;  // of several GPUs
  preheat::process_group processes_;
};

// Bytes that the backend's memory has to give now, or has in all where the system does not say, and those
// that this process has of it; 0: unknown.
double available_memory();
double resident_memory();

}  // namespace apps::finetune
