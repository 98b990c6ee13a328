// What preheat::kernels has of the elementwise work: PREHEAT_EACH_PASS(X, T) is X(T, kernel, operands)
// for every elementwise kernel that says `in_kernels`. A pass that is used and not here does not link.
#pragma once
#include <preheat/cpu/passes.hpp>
#include <preheat/linalg/elementwise.hpp>
#include <preheat/nn/activation.hpp>
#include <preheat/nn/gelu.hpp>
#include <preheat/nn/rotary.hpp>
#include <preheat/nn/sums.hpp>
#include <preheat/optim/adam.hpp>
#include <preheat/optim/lora_fa.hpp>
#include <preheat/optim/lora_pro_adamw.hpp>
#include <preheat/optim/sgd.hpp>

#define PREHEAT_EACH_PASS(X, T)                             \
  X(T, linalg::axpby<T>, 2)                                 \
  X(T, linalg::scale<T>, 1)                                 \
  X(T, nn::add_kernel<T>, 2)                                \
  X(T, nn::add_two_kernel<T>, 3)                            \
  X(T, nn::add_three_kernel<T>, 4)                          \
  X(T, nn::gelu_kernel<T>, 3)                               \
  X(T, nn::gelu_gradient_kernel<T>, 3)                      \
  X(T, nn::rotation_kernel<T>, 4)                           \
  X(T, nn::back_rotation_kernel<T>, 4)                      \
  X(T, nn::activation_kernel<nn::silu<T>>, 2)               \
  X(T, nn::activation_gradient_kernel<nn::silu<T>>, 2)      \
  X(T, nn::gate_kernel<nn::silu<T>>, 3)                     \
  X(T, nn::gate_gradient_kernel<nn::silu<T>>, 4)            \
  X(T, nn::activation_kernel<nn::gelu<T>>, 2)               \
  X(T, nn::activation_gradient_kernel<nn::gelu<T>>, 2)      \
  X(T, nn::gate_kernel<nn::gelu<T>>, 3)                     \
  X(T, nn::gate_gradient_kernel<nn::gelu<T>>, 4)            \
  X(T, nn::activation_kernel<nn::gelu_tanh<T>>, 2)          \
  X(T, nn::activation_gradient_kernel<nn::gelu_tanh<T>>, 2) \
  X(T, nn::gate_kernel<nn::gelu_tanh<T>>, 3)                \
  X(T, nn::gate_gradient_kernel<nn::gelu_tanh<T>>, 4)       \
  X(T, optim::sgd_kernel<T>, 2)                             \
  X(T, optim::momentum_kernel<T>, 3)                        \
  X(T, optim::adam_kernel<T>, 4)                            \
  X(T, optim::adam_kernel<T>, 5)                            \
  X(T, optim::adam_direction_kernel<T>, 3)                  \
  X(T, optim::lora_fa_kernel<T>, 4)

// An explicit instantiation of a pass, or with EXTERN = extern its declaration.
#define PREHEAT_PASS(EXTERN, T, ISA, F, N) \
  EXTERN template void packet_pass<T, isa::ISA, F, N>(const void*, index_t, index_t, T* const*);
