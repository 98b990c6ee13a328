// HRP, preheated by training B.
#include "adapt.hpp"

namespace sentiment {

method_list train_b_preheating() {
  using warm = method<adapter::asymmetric<role::B>, init::orthogonal, optim::sgd>;
  return {entry({.id = "hrp_train_b",
                 .name = "HRP, warm train B",
                 .citation = "arXiv 2502.07739; warm: train B, SGD, left side",
                 .kind = family::data},
                preheat::hrp<warm>{})};
}

}  // namespace sentiment
