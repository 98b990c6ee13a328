// The whole library on the CPU, but for file formats (preheat/files, safetensors, gguf, peft, huggingface, text).
#pragma once
#include "cpu/backend.hpp"
#include "methods.hpp"
#include "nn/bert.hpp"
#include "nn/least_squares.hpp"
#include "nn/minibatches.hpp"
#include "nn/mlp.hpp"
#include "train/fit.hpp"
#include "version.hpp"
#if defined(PREHEAT_KERNELS)
#include "kernels/linalg.hpp"
#include "kernels/training.hpp"
#endif
