// Runs the tests where the model all-MiniLM-L6-v2 is, and says so where it is not: exit code 77,
// which is a skip.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>

#include "model_folder.hpp"

int main(int argc, char** argv) {
  const std::string folder = minilm::model_folder();
  if (!std::filesystem::exists(folder + "/model.safetensors")) {
    std::printf(
        "skipped: the model all-MiniLM-L6-v2 is not in %s (./run text --fetch brings it; "
        "PREHEAT_MINILM_DIR says where it is)\n",
        folder.c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
