// Counts the allocations of training steps: malloc and its relatives are replaced at link time, so
// a program includes this file once. What a matrix product allocates inside is counted apart:
// OpenBLAS may take buffers, and Eigen packs operands that are too large for the stack. glibc only.
#pragma once
#include <execinfo.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <preheat/preheat.hpp>
#include <string>
#include <vector>

// ------------------------------------------------------------------------ the replaced functions

namespace {

struct counts {
  long in_products = 0;
  long elsewhere = 0;
};

std::atomic<bool> counting{false};
std::atomic<long> in_products{0};
std::atomic<long> elsewhere{0};
thread_local bool in_product = false;

constexpr int deepest = 24;
void* first_place[deepest];  // the call stack of the first allocation outside a product
int first_depth = 0;

void note_allocation() {
  if (!counting.load(std::memory_order_relaxed)) {
    return;
  }
  if (in_product) {
    ++in_products;
    return;
  }
  if (elsewhere++ == 0) {
    counting = false;
    first_depth = backtrace(first_place, deepest);
    counting = true;
  }
}

void start_counting() {
  in_products = 0;
  elsewhere = 0;
  counting = true;
}
counts stop_counting() {
  counting = false;
  return {in_products, elsewhere};
}

}  // namespace

extern "C" {
// glibc's own names of the functions that are replaced below; free needs no replacement.
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  note_allocation();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  note_allocation();
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  note_allocation();
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  note_allocation();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  note_allocation();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  note_allocation();
  *result = __libc_memalign(alignment, size);
  return *result == nullptr ? ENOMEM : 0;
}
}  // extern "C"

// operator new, in all its forms, calls malloc or aligned_alloc above (steady_state.cpp tries).

// ------------------------------------------------------------------------------------- what counts

namespace {

using namespace preheat;

int failures = 0;  // the program's exit code, if it is not 0

void expect(bool holds, const std::string& what) {
  if (!holds) {
    std::printf("FAILED: %s\n", what.c_str());
    ++failures;
  }
}

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

void print_first_place() {
  std::printf("  the first of them came from (addr2line -Cie PROGRAM OFFSET):\n");
  std::fflush(stdout);
  backtrace_symbols_fd(first_place, first_depth, STDOUT_FILENO);
}

// Whether Eigen alone would need the heap to pack the operands of the products.
enum class sizes { small, large };

template <class T>
void report(const std::string& name, const counts& seen, sizes size = sizes::small) {
  std::printf("%-40s %-6s %6ld in products %6ld elsewhere\n", name.c_str(),
              sizeof(T) == 4 ? "float" : "double", seen.in_products, seen.elsewhere);
  expect(seen.elsewhere == 0, name + ": a step allocates outside the products");
  if (seen.elsewhere > 0) {
    print_first_place();
  }
  if (eigen_alone && size == sizes::small) {
    expect(seen.in_products == 0, name + ": a product that fits the stack allocates");
  }
}

// The first and last lines of every program here.
void begin_program() {
  void* place[1];
  backtrace(place, 1);  // loads what it needs, once
  set_blas_threads(1);  // a BLAS's own threads would not be known to be inside a product
  std::printf("%s\nallocations in steps 10 to 20:\n", cpu<float>().describe().c_str());
}
int end_program() {
  std::printf(failures == 0 ? "ok\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
