// Where the model all-MiniLM-L6-v2 is looked for: the environment's PREHEAT_MINILM_DIR, else the
// place built in.
#pragma once
#include <cstdlib>
#include <string>

#if !defined(PREHEAT_MINILM_DIR_DEFAULT)
#error "define PREHEAT_MINILM_DIR_DEFAULT: a folder, as a string"
#endif

namespace minilm {

inline std::string model_folder() {
  const char* const chosen = std::getenv("PREHEAT_MINILM_DIR");
  const bool given = chosen != nullptr && *chosen != '\0';
  return given ? chosen : PREHEAT_MINILM_DIR_DEFAULT;
}

}  // namespace minilm
