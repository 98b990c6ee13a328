// The contract of an adapter: what ΔW is made of, and how gradients are pulled back to its parameters.
//
// A complete one: every output of the layer is scaled, y = (1 + l) ⊙ (W·x) + b, so that
// ∂l_i = Σ_j dy_ij·(W·x)_ij and dx = Wᵀ·((1 + l) ⊙ dy).
//
//   struct scaled_outputs {
//     using axis = preheat::axes::adapter;
//     static constexpr bool has_factors = false;  // no A and B, so no init and no rank
//     static constexpr bool represents_any_product = false;
//     static constexpr auto side = preheat::singular_side::automatic;
//
//     template <class Be>
//     struct params {
//       preheat::mat<Be> l;  // m×1
//       static constexpr auto parameters() {
//         return std::tuple(
//             preheat::make_parameter<preheat::parameter_role::magnitude>("l", &params::l));
//       }
//     };
//     template <class Be>
//     struct saved_activations {  // what forward keeps for backward
//       preheat::mat<Be> frozen;  // W·x
//       preheat::mat<Be> scaled;  // (1 + l) ⊙ dy
//     };
//     template <class T>
//     struct plus {
//       constexpr void operator()(T& x, const T& y) const { x += y; }
//     };
//
//     template <preheat::backend Be>
//     params<Be> start(Be& be, const preheat::frozen_linear<Be>& base, preheat::generator) const {
//       return {be.zeros(base.W.rows(), 1)};
//     }
//     template <preheat::backend Be>
//     void forward(Be& be, const params<Be>& p, const preheat::frozen_linear<Be>& base,
//                  const preheat::layer_input<Be>& x, preheat::view_of<Be> Y,
//                  saved_activations<Be>& saved) const {
//       be.resize(saved.frozen, Y.rows(), Y.cols());
//       be.gemm(1, preheat::transpose::no, base.W, preheat::transpose::no, x.base, 0,
//               saved.frozen);
//       scale(be, p, saved.frozen, Y);
//       if (!base.b.empty()) {
//         be.add_to_cols(base.b, Y);
//       }
//     }
//     template <preheat::backend Be>
//     void backward(Be& be, const params<Be>& p, const preheat::frozen_linear<Be>& base,
//                   const preheat::layer_input<Be>&, preheat::const_view_of<Be> dY,
//                   params<Be>& gradient, const preheat::input_gradient<Be>& dx,
//                   saved_activations<Be>& saved) const {
//       be.add_row_dots(1, dY, saved.frozen, gradient.l);
//       if (dx.wanted()) {
//         be.resize(saved.scaled, dY.rows(), dY.cols());
//         scale(be, p, dY, saved.scaled);
//         be.gemm(1, preheat::transpose::yes, base.W, preheat::transpose::no, saved.scaled, 0,
//                 dx.base);
//       }
//     }
//     template <preheat::backend Be>
//     void merge(Be& be, const params<Be>& p, preheat::scalar_of<Be>, preheat::view_of<Be> W,
//                preheat::view_of<Be>) const {
//       scale(be, p, preheat::clone(be, W), W);
//     }
//
//    private:
//     template <class Be>  // to = (1 + l) ⊙ from
//     static void scale(Be& be, const params<Be>& p, preheat::const_view_of<Be> from,
//                       preheat::view_of<Be> to) {
//       be.copy(preheat::transpose::no, from, to);
//       be.scale_rows(p.l, to);
//       be.apply(plus<preheat::scalar_of<Be>>{}, to, from);
//     }
//   };
#pragma once
#include <concepts>
#include <cstddef>
#include <memory>
#include <utility>

#include "backend.hpp"
#include "frozen_weight.hpp"
#include "init.hpp"
#include "parameters.hpp"
#include "random.hpp"
#include "types.hpp"

namespace preheat {

// The frozen linear map under an adapter: y = (W + ΔW)·x + b, ΔW scaled by s. b is m×1 or empty.
template <class Be>
struct frozen_linear {
  weight_view_of<Be> W;
  const_view_of<Be> b;
  scalar_of<Be> scaling = 1;
};
// The input of a layer. `adapter_input` is the input of the adapter: the same view as `base`, or its
// copy after dropout.
template <class Be>
struct layer_input {
  const_view_of<Be> base;
  const_view_of<Be> adapter_input;
};
// Where the gradient of the input is written; both are empty when it is not wanted. `base` is
// overwritten with the part through W, and the part through the adapter is added to
// `adapter_input`. Without dropout both are the same view, so write `base` first.
template <class Be>
struct input_gradient {
  view_of<Be> base;
  view_of<Be> adapter_input;
  bool wanted() const { return base.data() != nullptr; }
};

// The size of a layer whose W is out×in.
struct layer_shape {
  index_t out = 0;
  index_t in = 0;
};

// Whether the layers share frozen matrices of this adapter (adapter::vera): an optional member,
//
//   template <class Be> struct shared { … };    what all target layers of a run share
//   shared<Be> make_shared(Be& be, layer_shape largest, index_t rank, const generator& gen) const;
//
// `largest` has the largest out and the largest in of the target layers, each for itself. A run
// calls make_shared once, with a stream of its own, at its first start or when it is resumed: the
// result must depend on these arguments alone. start(be, base, pointer, gen) takes a
// shared_pointer<A, Be> to it, and params<Be> keep it in a member `shared` that parameters() does
// not list. So what is shared is not trained, counted, saved or resized; copies of params refer to
// it too, and it lives as long as the last of them (a report outlives its run).
template <class A, class Be>
concept shares_factors = requires {
  typename A::template shared<Be>;
};
namespace detail {
template <class A, class Be>
struct shared_type {
  using pointer = std::nullptr_t;
};
template <class A, class Be>
requires shares_factors<A, Be>
struct shared_type<A, Be> {
  using pointer = std::shared_ptr<const typename A::template shared<Be>>;
};
}  // namespace detail
template <class A, class Be>
using shared_pointer = typename detail::shared_type<A, Be>::pointer;

// The four ways in which an adapter starts: from the factors of an init, from what the layers
// share, from the layer alone, or from the layer and its rank (with the run's scale s; in the other
// two ways without factors s is 1).
template <class A, class Be>
concept starts_from_factors = requires(const A adapter, Be& be, const frozen_linear<Be>& base,
                                       factors<Be>& f, generator gen,
                                       const typename A::template params<Be>& p) {
  { adapter.start(be, base, std::move(f), gen) } -> std::same_as<typename A::template params<Be>>;
  { adapter.product(be, p) } -> std::same_as<factors<Be>>;
};
template <class A, class Be>
concept starts_from_shared = requires(const A adapter, Be& be, const frozen_linear<Be>& base,
                                      shared_pointer<A, Be> shared, generator gen) {
  { adapter.start(be, base, shared, gen) } -> std::same_as<typename A::template params<Be>>;
};
template <class A, class Be>
concept starts_alone = requires(const A adapter, Be& be, const frozen_linear<Be>& base,
                                generator gen) {
  { adapter.start(be, base, gen) } -> std::same_as<typename A::template params<Be>>;
};
template <class A, class Be>
concept starts_of_rank = requires(const A adapter, Be& be, const frozen_linear<Be>& base,
                                  index_t rank, generator gen) {
  { adapter.start(be, base, rank, gen) } -> std::same_as<typename A::template params<Be>>;
};
// Merging ΔW and Δb into W and b; optional for an adapter that has factors.
template <class A, class Be>
concept merges_itself = requires(const A adapter, Be& be, const typename A::template params<Be>& p,
                                 scalar_of<Be> s, view_of<Be> W) {
  { adapter.merge(be, p, s, W, W) } -> std::same_as<void>;
};

template <class A, class Be>
concept starts_without_factors = merges_itself<A, Be> &&
    (shares_factors<A, Be> ? starts_from_shared<A, Be>
                           : (starts_alone<A, Be> || starts_of_rank<A, Be>));

// adapter: what ΔW is made of and how gradients are pulled back to its parameters.
//   side         which side can use singular vectors from an init: right or left if one factor is
//                frozen
//   has_factors  whether it is started from factors A, B; if not, it needs no init
//   represents_any_product  whether it can hold any pair A, B exactly, which an init of non-zero
//                product requires
// forward writes all of y; backward adds to the gradient and does not change the parameters. The
// optional members are in core/optional_members.hpp.
template <class A, class Be>
concept adapter_passes = requires(const A adapter, Be& be, const frozen_linear<Be>& base,
                                  const layer_input<Be>& x, const input_gradient<Be>& dx,
                                  const_view_of<Be> dY, view_of<Be> Y,
                                  const typename A::template params<Be>& p,
                                  typename A::template params<Be>& g,
                                  typename A::template saved_activations<Be>& saved_activations) {
  { A::side } -> std::convertible_to<singular_side>;
  { A::has_factors } -> std::convertible_to<bool>;
  { A::represents_any_product } -> std::convertible_to<bool>;
  { adapter.forward(be, p, base, x, Y, saved_activations) } -> std::same_as<void>;
  { adapter.backward(be, p, base, x, dY, g, dx, saved_activations) } -> std::same_as<void>;
};
template <class A, class Be>
concept adapter_policy = std::same_as<typename A::axis, axes::adapter> &&
    parameter_set<typename A::template params<Be>> && adapter_passes<A, Be> &&
    ((bool(A::has_factors) && starts_from_factors<A, Be>) ||
     (!bool(A::has_factors) && starts_without_factors<A, Be>));

}  // namespace preheat
