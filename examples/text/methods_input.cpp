// A start from the inputs of the layers.
#include "adapt.hpp"

namespace sentiment {

method_list input_start() {
  return {entry({.id = "eva",
                 .name = "EVA",
                 .citation = "arXiv 2410.07170; 2 batches, charged",
                 .kind = family::data},
                preheat::eva{.init = {.batches = 2}})};
}

}  // namespace sentiment
