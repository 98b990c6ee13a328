// The contract of an init: the factors A and B that a layer's adapter starts from.
//
// An init names its axis, states its `product` (initial_product, below) and is a function of a
// target layer: the layer's weight, rank, scale and generator. This one is complete, and takes the
// first r rows of the unit matrix as A:
//
//   struct unit_rows {
//     using axis = preheat::axes::init;
//     static constexpr auto product = preheat::initial_product::zero;  // B = 0
//
//     template <preheat::backend Be>
//     preheat::factors<Be> operator()(Be& be, const preheat::target_layer<Be>& s) const {
//       preheat::mat<Be> A = be.zeros(s.rank, s.W.cols());
//       for (preheat::index_t i = 0; i < s.rank; ++i) {
//         be.fill(1, preheat::view(A).row_range(i, 1).col_range(i, 1));
//       }
//       return {std::move(A), be.zeros(s.W.rows(), s.rank)};
//     }
//   };
//
//   auto report = fit(preheat::method<unit_rows>{}, network, batches, {.rank = 4, .steps = 100});
#pragma once
#include <concepts>
#include <type_traits>

#include "backend.hpp"
#include "frozen_weight.hpp"
#include "hooks.hpp"
#include "random.hpp"
#include "types.hpp"

namespace preheat {

// ΔW = s·B·A: A is r×n, B is m×r. With a core, ΔW = s·B·R·A: R is r×r, otherwise empty
// (adapter::xs).
template <class Be>
struct factors {
  mat<Be> A;
  mat<Be> B;
  mat<Be> R{};
};
// Refuses a core R, for adapters that cannot hold one.
template <class Be>
void require_no_core(const factors<Be>& f) {
  require(f.R.rows() == 0, "this init gives a core R between B and A: use adapter::xs");
}
// Factors together with a new base weight, m×n, that replaces W.
template <class Be>
struct replacement {
  factors<Be> f;
  mat<Be> W;
};

// The product s·B·A at the start, and what it does to the layer's output.
//   zero          One factor is zero, so the layer's output is unchanged.
//   zero_product  Both factors are nonzero and their product is zero, so the output is unchanged.
//   residual      s·B·A is subtracted from W, so the layer's output is unchanged.
//   new_base      The init also returns a new base weight, for example a quantized one. The output
//                 changes slightly.
//   nonzero       The output changes by s·B·A, unless the adapter multiplies the product by gates
//                 that start at zero (gated<gate::closed>).
enum class initial_product { zero, zero_product, residual, new_base, nonzero };

// The input of an init: one layer.
template <class Be>
struct target_layer {
  weight_view_of<Be> W;       // m×n, frozen; where a view is expected it is a dense one
  index_t rank = 0;           // r
  scalar_of<Be> scaling = 1;  // s
  singular_side side =
      singular_side::automatic;  // right or left when the adapter can train only the other
  index_t layer = 0;             // its number in the network
  generator gen{};               // its own stream
};

// The result of an init: factors, or a replacement if its product is initial_product::new_base.
template <class I, class Be>
using init_answer =
    std::conditional_t<I::product == initial_product::new_base, replacement<Be>, factors<Be>>;

// Whether an init learns from the data, and not from the weight alone.
template <class I>
inline constexpr bool learns_from_data = requires(const I& init) {
  init.calibration_steps(index_t(1));
};
template <class I, class Be>
inline constexpr bool calibrates = learns_from_data<I> || requires {
  typename I::template calibration<Be>;
};

// Whether an init says what the product of its factors is.
template <class I>
concept names_product = requires {
  { I::product } -> std::convertible_to<initial_product>;
};

// init: a pure function of a layer, or of a layer and its calibration.
template <class I, class Be>
concept plain_init = requires(const I init, Be& be, const target_layer<Be>& s) {
  { init(be, s) } -> std::same_as<init_answer<I, Be>>;
};
template <class I, class Be>
concept calibrated_init = requires(const I init, Be& be, const target_layer<Be>& s,
                                   const typename I::template calibration<Be>& e) {
  { init(be, s, e) } -> std::same_as<init_answer<I, Be>>;
  { init.calibration_steps(index_t(1)) } -> std::same_as<index_t>;
};
// One that learns from the data and starts many layers at once: starts(be, layers, what it learned of each).
template <class I, class Be, class Learned>
concept starts_together = requires(const I& init, Be& be,
                                   const std::vector<target_layer<Be>>& layers,
                                   const std::vector<const Learned*>& learned) {
  { init.starts(be, layers, learned) } -> std::same_as<std::vector<init_answer<I, Be>>>;
};
template <class I, class Be>
concept init_policy = std::same_as<typename I::axis, axes::init> && names_product<I> &&
    ((calibrates<I, Be> && calibrated_init<I, Be>) || (!calibrates<I, Be> && plain_init<I, Be>));

}  // namespace preheat
