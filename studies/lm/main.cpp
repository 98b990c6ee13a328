// preheat-lm: a pretrained language model learns to define words, with LoRA's initializations and
// published systems, from one command.
//
// SmolLM2-135M-Instruct sees "word:" and learns the gloss that WordNet has for it. Every method has the
// same rank and the same number of training steps, preheating included. Learning rates are chosen on
// validation data; losses have intervals over seeds and paired differences to LoRA. How far a method
// moves the model on plain English that nothing trained is measured beside it.
//
//   preheat-lm --quick
//   preheat-lm --help
//   mpirun -n 8 preheat-lm         # the same runs, spread over processes
//   preheat-lm --device cuda       # becomes preheat-lm-cuda (backend.hpp)
#include <cstdio>
#include <exception>

#include "apps/console/other_program.hpp"
#include "backend.hpp"
#include "experiment.hpp"
#include "options.hpp"
#include "run.hpp"
#include "studies/common/program.hpp"

int main(int argc, char** argv) {
  try {
    if (apps::console::wants_gpu(argc, argv) && !studies::lm::computes_on_gpu) {
      apps::console::become("preheat-lm-cuda", argv, "PREHEAT_LM_CUDA", "docs/evidence.md");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "preheat-lm: %s\n", error.what());
    return 1;
  }
  return studies::common::main_of<studies::lm::experiment>(
      "preheat-lm", argc, argv, studies::lm::parse, studies::lm::run_all);
}
