// Full fine-tuning.
#include "adapt.hpp"

namespace sentiment {

method_list full_fine_tuning() {
  return {entry({.id = "full",
                 .name = "full fine-tuning",
                 .citation = "every weight and bias of the linear layers; the reference",
                 .kind = family::reference},
                preheat::full_fine_tuning{})};
}

}  // namespace sentiment
