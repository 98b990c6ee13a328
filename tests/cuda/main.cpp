// The main of programs that use CUDA. With the real libraries and no device it skips: exit code 77,
// or 1 where PREHEAT_NEED_GPU is set. With the double it also fails if anything was misused or is
// still alive at the end.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS  // the double says itself who touched device memory
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <preheat/cuda/error.hpp>

#include "shared_context.hpp"
#if defined(PREHEAT_CUDA_DOUBLE)
#include "double/control.hpp"
#endif

int main(int argc, char** argv) {
  if (const std::string reason = preheat::why_no_cuda(); !reason.empty()) {
    const bool needed = std::getenv("PREHEAT_NEED_GPU") != nullptr;
    std::printf("%s: %s\n", needed ? "FAILED: PREHEAT_NEED_GPU is set" : "skipped", reason.c_str());
    return needed ? 1 : 77;
  }
  doctest::Context context(argc, argv);
  int code = context.run();
  conformance::shared_context().reset();
#if defined(PREHEAT_CUDA_DOUBLE)
  for (const std::string& violation : cuda_double::violations()) {
    std::printf("cuda_double: %s\n", violation.c_str());
    code = 1;
  }
  if (cuda_double::alive() != 0) {
    std::printf("cuda_double: %ld blocks, streams and handles are alive\n", cuda_double::alive());
    code = 1;
  }
#endif
  return code;
}
