// What many tests include, for the precompiled header of the large test programs. A test includes what it uses all the
// same. Without methods.hpp: tests give such names to combinations of their own.
#include <preheat/cpu/backend.hpp>
#include <preheat/nn/bert.hpp>
#include <preheat/nn/least_squares.hpp>
#include <preheat/nn/minibatches.hpp>
#include <preheat/nn/mlp.hpp>
#include <preheat/train/fit.hpp>

#include <doctest/doctest.h>

#if defined(PREHEAT_KERNELS)
#include <preheat/kernels/linalg.hpp>
#include <preheat/kernels/training.hpp>
#endif
