// Names that version 0.1 had, for the types and functions of which the name alone is new. They go with 0.3. Nothing else
// includes this header. CHANGELOG.md has the rest, which no alias can keep: names of members and of enumerators, the contexts
// and concepts whose members or arguments are others now, and namespace io, whose headers moved.
#pragma once
#include <vector>

#include "core/backend.hpp"
#include "core/communicator.hpp"
#include "core/init.hpp"
#include "core/network.hpp"
#include "core/optional_members.hpp"
#include "core/parameters.hpp"
#include "core/random.hpp"
#include "init/hrp.hpp"
#include "method.hpp"
#include "nn/dropout.hpp"
#include "train/gradient_all_reduce.hpp"
#include "train/options.hpp"
#include "train/run.hpp"

namespace preheat {

using op [[deprecated("it is preheat::transpose")]] = transpose;
using start [[deprecated("it is preheat::initial_product")]] = initial_product;
using side [[deprecated("it is preheat::singular_side")]] = singular_side;
using role [[deprecated("it is preheat::parameter_role")]] = parameter_role;
using pass [[deprecated("it is preheat::pass_kind")]] = pass_kind;
using memory [[deprecated("it is preheat::memory_kind")]] = memory_kind;
using share [[deprecated("it is preheat::shard")]] = shard;
using progress [[deprecated("it is preheat::training_progress")]] = training_progress;
template <class Be>
using in [[deprecated("it is preheat::const_view_of")]] = const_view_of<Be>;
template <class Be>
using out [[deprecated("it is preheat::view_of")]] = view_of<Be>;
template <class Be>
using site [[deprecated("it is preheat::target_layer")]] = target_layer<Be>;
template <class Be>
using layer [[deprecated("it is preheat::base_layer")]] = base_layer<Be>;
template <class Be>
using gradient_exchange [[deprecated("it is preheat::gradient_all_reduce")]] =
    gradient_all_reduce<Be>;
template <class Method, class Net, class Data, bool Validated>
using run [[deprecated("it is preheat::training_run")]] =
    training_run<Method, Net, Data, Validated>;
template <parameter_role Role, along Ranks, bool Trained, class P, class M>
using part [[deprecated("it is preheat::parameter")]] = parameter<Role, Ranks, Trained, P, M>;

// GCC 12 takes no attribute on a concept: these two give no warning.
template <class Be>
concept widening_backend = mixed_precision_backend<Be>;
template <class D, class Net>
concept shared_data_source = sharded_data_source<D, Net>;

template <class I>
[[deprecated("it is preheat::learns_from_data")]] inline constexpr bool gathers_evidence =
    learns_from_data<I>;

template <parameter_role Role, along Ranks = along::none, bool Trained = true, class P, class M>
[[deprecated("it is preheat::make_parameter")]] constexpr auto make_part(const char* name,
                                                                         M P::*member) {
  return make_parameter<Role, Ranks, Trained>(name, member);
}
template <class F, class P, class... Q>
[[deprecated("it is preheat::for_each")]] void visit_all(F f, P& p, Q&... q) {
  for_each(f, p, q...);
}
template <class F, class P, class... Q>
[[deprecated("it is preheat::for_each_trained")]] void visit(F f, P& p, Q&... q) {
  for_each_trained(f, p, q...);
}
template <class Init>
[[deprecated("it is preheat::restart_init")]] const auto& later_init(const Init& init) {
  return restart_init(init);
}

template <class Container>
[[deprecated("it is preheat::random_shuffle")]] constexpr void shuffle(Container& values,
                                                                       generator gen) {
  random_shuffle(values, gen);
}
[[deprecated("it is preheat::random_subset")]] inline std::vector<index_t> choose(index_t k,
                                                                                  index_t n,
                                                                                  generator gen) {
  return random_subset(k, n, gen);
}

namespace init {
using default_warm [[deprecated("it is init::default_preheat")]] = default_preheat;
}
namespace nn {
using dropout_site [[deprecated("it is nn::dropout_stream")]] = dropout_stream;
}

}  // namespace preheat
