// Runs the tests where the model SmolLM2-135M-Instruct is, and says so where it is not: exit code 77,
// which is a skip.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>

#include "model_file.hpp"

int main(int argc, char** argv) {
  const std::string file = smollm2::model_file();
  if (!std::filesystem::exists(file)) {
    std::printf(
        "skipped: the model SmolLM2-135M-Instruct is not %s (./run lm --fetch brings it; "
        "PREHEAT_SMOLLM2 says which file it is)\n",
        file.c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
