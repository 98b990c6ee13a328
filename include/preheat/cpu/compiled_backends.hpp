// The CPU backends that preheat::kernels has compiled: a file that includes this header does not
// compile their members again.
#pragma once
#include "../version.hpp"
#include "backend.hpp"

#if !defined(PREHEAT_KERNELS)
#error \
    "preheat: this header is for programs linked to preheat::kernels, which defines PREHEAT_KERNELS"
#endif

// X(EXTERN, backend) for every CPU backend of a scalar that the library has: with Eigen's kernels
// always, with a BLAS's if it was built with one. A backend's name has a comma: X is variadic.
#if defined(PREHEAT_SYSTEM_BLAS)
#define PREHEAT_COMPILED_BACKENDS(X, EXTERN, T) \
  X(EXTERN, cpu<T, eigen_kernels>)              \
  X(EXTERN, cpu<T, blas_kernels>)
#else
#define PREHEAT_COMPILED_BACKENDS(X, EXTERN, T) X(EXTERN, cpu<T, eigen_kernels>)
#endif
#define PREHEAT_BACKEND(EXTERN, ...) EXTERN template class __VA_ARGS__;

namespace preheat {

PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, extern, float)
PREHEAT_COMPILED_BACKENDS(PREHEAT_BACKEND, extern, double)

// The library defines one of these names, and every file needs the one that fits its options. So a
// file of another version, or compiled with PREHEAT_SYSTEM_BLAS where the library was not (or the
// reverse), does not link, and the linker says which library the file needs.
#define PREHEAT_JOIN(A, B, C, D) A##B##_##C##D
#define PREHEAT_NAME_LIBRARY(MAJOR, MINOR, KIND) \
  PREHEAT_JOIN(this_file_needs_preheat_kernels_, MAJOR, MINOR, KIND)
#if defined(PREHEAT_SYSTEM_BLAS)
#define PREHEAT_LIBRARY_NEEDED \
  PREHEAT_NAME_LIBRARY(PREHEAT_VERSION_MAJOR, PREHEAT_VERSION_MINOR, _built_with_a_system_BLAS)
#else
#define PREHEAT_LIBRARY_NEEDED \
  PREHEAT_NAME_LIBRARY(PREHEAT_VERSION_MAJOR, PREHEAT_VERSION_MINOR, _built_with_Eigen_alone)
#endif
extern const char PREHEAT_LIBRARY_NEEDED;
[[gnu::used]] static const char* const library_needed = &PREHEAT_LIBRARY_NEEDED;

}  // namespace preheat
