// HRP.
#include "adapt.hpp"

namespace sentiment {

method_list preheated_starts() {
  return {entry({.id = "hrp",
                 .name = "HRP",
                 .citation = "arXiv 2502.07739; warm: train A, SGD, R = 16 r, 1.3 % of the steps",
                 .kind = family::data,
                 .by_default = true},
                preheat::hrp<>{}),
          entry({.id = "hrp_longer",
                 .name = "HRP, preheated longer",
                 .citation = "arXiv 2502.07739; warm: train A, SGD, R = 16 r, 3 % of the steps",
                 .kind = family::data},
                preheat::hrp<>{.init = {.fraction = 0.03}})};
}

}  // namespace sentiment
