// preheat-text: LoRA's initializations and published systems on a real transformer and real text, from
// one command.
//
// A pretrained sentence encoder is adapted to the sentiment of sentences by every method at the same
// rank and the same number of training steps, preheating included. Learning rates are chosen on
// validation data; test accuracy has intervals over seeds and paired differences to LoRA.
//
//   preheat-text --quick
//   preheat-text --help
//   mpirun -n 8 preheat-text         # the same runs, spread over processes
#include "experiment.hpp"
#include "options.hpp"
#include "run.hpp"
#include "studies/common/program.hpp"

int main(int argc, char** argv) {
  return studies::common::main_of<studies::text::experiment>(
      "preheat-text", argc, argv, studies::text::parse, studies::text::run_all);
}
