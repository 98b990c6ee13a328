// Names that version 0.1 had, for the types and functions whose new name alone is different. They go with 0.3; CHANGELOG.md
// has the names of members and enumerators, which no alias can keep. Nothing else includes this header.
#pragma once
#include "core/backend.hpp"
#include "core/communicator.hpp"
#include "core/init.hpp"
#include "core/network.hpp"
#include "core/parameters.hpp"
#include "core/random.hpp"
#include "nn/dropout.hpp"
#include "train/options.hpp"

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

template <class Container>
[[deprecated("it is preheat::random_shuffle")]] constexpr void shuffle(Container& values,
                                                                       generator gen) {
  random_shuffle(values, gen);
}

namespace nn {
using dropout_site [[deprecated("it is nn::dropout_stream")]] = dropout_stream;
}

}  // namespace preheat
