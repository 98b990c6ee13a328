// COLA.
#include "adapt.hpp"

namespace sentiment {

method_list merged_chain() {
  return {entry({.id = "cola",
                 .name = "COLA",
                 .citation = "arXiv 2401.04151; merged and drawn again every 25 steps",
                 .kind = family::system},
                preheat::cola{})};
}

}  // namespace sentiment
