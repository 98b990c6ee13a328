// Compiled alone: it replaces malloc and its relatives. glibc only.
#include "watch.hpp"

#include <execinfo.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace alloc {

thread_local bool in_product = false;

namespace {

std::atomic<bool> counting{false};
std::atomic<long> in_products{0};
std::atomic<long> elsewhere{0};

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

}  // namespace

void start_counting() {
  void* place[1];
  backtrace(place, 1);  // loads what it needs, the first time
  in_products = 0;
  elsewhere = 0;
  counting = true;
}

counts stop_counting() {
  counting = false;
  return {in_products, elsewhere};
}

void print_first_place() {
  std::printf("  the first of them came from (addr2line -Cie PROGRAM OFFSET):\n");
  std::fflush(stdout);
  backtrace_symbols_fd(first_place, first_depth, STDOUT_FILENO);
}

}  // namespace alloc

extern "C" {
// glibc's own names of the functions that are replaced below; free needs no replacement.
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  alloc::note_allocation();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  alloc::note_allocation();
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  alloc::note_allocation();
  return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  alloc::note_allocation();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  alloc::note_allocation();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  alloc::note_allocation();
  *result = __libc_memalign(alignment, size);
  return *result == nullptr ? ENOMEM : 0;
}
}  // extern "C"

// operator new, in all its forms, calls malloc or aligned_alloc above (steady_state.cpp tries).
