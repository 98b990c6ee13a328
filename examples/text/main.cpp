// preheat_text: LoRA's initializations and published systems on a real transformer and real text, from
// one command.
//
// A pretrained sentence encoder is adapted to the sentiment of sentences by every method at the same
// rank and the same number of training steps, preheating included. Learning rates are chosen on
// validation data; test accuracy has intervals over seeds and paired differences to LoRA.
//
//   preheat_text --quick
//   preheat_text --help
//   mpirun -n 8 preheat_text         # the same runs, spread over processes
#include "../compare/together.hpp"
#include "experiment.hpp"
#include "options.hpp"
#include "run.hpp"

int main(int argc, char** argv) {
  return comparison::main_of<sentiment::experiment>("preheat_text", argc, argv, sentiment::parse,
                                                    sentiment::run_all);
}
