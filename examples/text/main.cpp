// preheat_text: LoRA's initializations and published systems on a real transformer and real text, from
// one command.
//
// A pretrained sentence encoder is adapted to the sentiment of sentences by every method at the same
// rank and the same number of training steps, preheating included. Learning rates are chosen on
// validation data; test accuracy has intervals over seeds and paired differences to LoRA.
//
//   preheat_text --quick
//   preheat_text --help
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "options.hpp"
#include "run.hpp"

int main(int argc, char** argv) {
  try {
    const sentiment::parsed command_line = sentiment::parse(argc, argv);
    if (!command_line.wanted) {
      return command_line.exit_code;
    }
    return sentiment::run_all(*command_line.wanted);
  } catch (const std::exception& error) {
    fmt::print(stderr, "preheat_text: {}\n", error.what());
    return 1;
  }
}
