// Starts from the weights alone.
#include "adapt.hpp"

namespace sentiment {

method_list weight_starts() {
  return {entry({.id = "pissa",
                 .name = "PiSSA",
                 .citation = "arXiv 2404.02948; the SVD by block Krylov iteration",
                 .kind = family::weight,
                 .by_default = true},
                preheat::pissa_krylov{})};
}

}  // namespace sentiment
