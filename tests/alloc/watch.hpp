// Counts the allocations of training steps: watch.cpp replaces malloc and its relatives at link time. What a
// matrix product allocates inside is counted apart: OpenBLAS may take buffers, and Eigen packs operands that
// are too large for the stack.
#pragma once
#include <doctest/doctest.h>

#include <cstring>
#include <preheat/preheat.hpp>
#include <string>

namespace alloc {

using namespace preheat;

struct counts {
  long in_products = 0;
  long elsewhere = 0;
};

extern thread_local bool in_product;
void start_counting();
counts stop_counting();
void print_first_place();  // of the first allocation outside a product

// The library's kernels, with a flag up while a product runs.
template <class Kernels>
struct watched : Kernels {
  template <class T>
  static void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
                   view<T> c) {
    in_product = true;
    Kernels::template gemm<T>(alpha, ta, a, tb, b, beta, c);
    in_product = false;
  }
};
template <class T>
using watched_cpu = cpu<T, watched<default_cpu_kernels>>;
constexpr bool eigen_alone = std::is_same_v<default_cpu_kernels, eigen_kernels>;

// What the main run's steps 10 to 20 allocate; with or without a validation batch.
template <class Method, class Net, class Data, class... Validation>
counts count_steps(const Method& m, Net& net, Data& data, fit_options options,
                   const Validation&... validation) {
  set_blas_threads(1);  // a BLAS's own threads would not be known to be inside a product
  counts seen{-1, -1};
  options.rank = 4;
  options.steps = 40;
  options.observer = [&seen](const training_progress& p) {
    if (std::strcmp(p.phase, "training") != 0) {
      return;
    }
    if (p.step == 9) {
      start_counting();
    } else if (p.step == 20) {
      seen = stop_counting();
    }
  };
  fit(m, net, data, options, validation...);
  return seen;
}

// Whether Eigen alone would need the heap to pack the operands of the products.
enum class sizes { small, large };

inline void check(const std::string& name, const counts& seen, sizes size = sizes::small) {
  CAPTURE(name);
  CHECK_MESSAGE(seen.elsewhere == 0, "a step allocates outside the products");
  if (seen.elsewhere > 0) {
    print_first_place();
  }
  if (eigen_alone && size == sizes::small) {
    CHECK_MESSAGE(seen.in_products == 0, "a product that fits the stack allocates");
  }
}

}  // namespace alloc
