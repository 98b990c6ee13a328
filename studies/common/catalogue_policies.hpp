// What the methods in catalogue.txt are written with. Included only where methods are instantiated.
#pragma once
#include <preheat/preheat.hpp>

#include "catalogue.hpp"

namespace studies::common {

namespace init = preheat::init;
namespace adapter = preheat::adapter;
namespace optim = preheat::optim;
using preheat::method;
using preheat::parameter_role;
using preheat::singular_side;

// How HRP can preheat, besides its default.
using train_a_by_adamw = method<adapter::asymmetric<parameter_role::A>, init::orthogonal>;
using train_b_by_sgd = method<adapter::asymmetric<parameter_role::B>, init::orthogonal, optim::sgd>;

}  // namespace studies::common
