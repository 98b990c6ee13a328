// LoRA from random directions, and the head alone, which is LoRA at a rate of 0.
#include "adapt.hpp"

namespace sentiment {

method_list random_starts() {
  method_entry head = entry({.id = "head",
                             .name = "the head alone",
                             .citation = "the encoder as it was pretrained",
                             .kind = family::reference,
                             .by_default = true},
                            preheat::lora{});
  head.has_rank = false;
  head.has_rate = false;
  head.run = [adapt_at_zero = head.run](const base_model& model, const encoded_set& set,
                                        const training_settings& s, const run_definition& run) {
    run_outcome outcome = adapt_at_zero(model, set, s, run);
    outcome.trainable_parameters = 0;
    return outcome;
  };
  return {head,
          entry({.id = "lora",
                 .name = "LoRA, Kaiming",
                 .citation = "arXiv 2106.09685; PEFT's default init",
                 .kind = family::random,
                 .by_default = true},
                preheat::lora{}),
          entry({.id = "gaussian",
                 .name = "LoRA, gaussian",
                 .citation = "arXiv 2106.09685; PEFT's \"gaussian\", A ~ N(0, 1/r²)",
                 .kind = family::random,
                 .by_default = true},
                preheat::lora_gaussian{})};
}

}  // namespace sentiment
