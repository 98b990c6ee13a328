// The real model, all-MiniLM-L6-v2, which `./run text --fetch` brings: tests that need it are
// skipped, and say so, where it is not.
#pragma once
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#if !defined(PREHEAT_MINILM_DIR_DEFAULT)
#error "define PREHEAT_MINILM_DIR_DEFAULT: build/text/minilm of the source tree, as a string"
#endif

namespace minilm {

// The environment's PREHEAT_MINILM_DIR, else the place where ./run text puts it.
inline std::filesystem::path folder() {
  const char* const chosen = std::getenv("PREHEAT_MINILM_DIR");
  const bool given = chosen != nullptr && *chosen != '\0';
  return given ? chosen : PREHEAT_MINILM_DIR_DEFAULT;
}

}  // namespace minilm
