// The optional members of a policy, a kernel or a backend: what each means, and what holds without
// it. One of the wrong type does not compile. (Hooks are in core/hooks.hpp.)
//
//   adapter   zero_at_start      ΔW is zero at the start, whatever A and B are    else false
//             rank(p)            the rank of these parameters                     else rows of p.A, or of A of
//                                                                                 product(be, p); 0 without factors
//             shared<Be>, make_shared   matrices that all layers share (core/adapter.hpp)   else none
//             merge(be, p, s, W, b)   W += ΔW, b += Δb                            else W += s·B·A of product(be, p)
//   init      zero_factors       one factor of the start is zero                  else product == zero
//             starts(be, layers, learned)   starts of many layers at once         else one after the other
//             at_restart         the init of every start but a run's first        else the init itself
//             expected_row_norm(rank, length)   of a row of A, for row_norm_rule  else it is no such rule
//   kernel    any_value          operator() is a template that takes packets too  else numbers one by one
//   backend   memory             where its matrices are                           else memory_kind::host
//             stored_weight      what a frozen W may be besides (core/frozen_weight.hpp)   else always a matrix
//             higher_precision   see mixed_precision_backend (core/backend.hpp)   else it has none
#pragma once
#include <concepts>
#include <memory>
#include <type_traits>

#include "adapter.hpp"
#include "init.hpp"

namespace preheat {

// Whether ΔW is zero at the start whatever the factors are: adapter::gated<adapter::gate::closed>.
template <class Adapter>
consteval bool zero_at_start() {
  if constexpr (requires { Adapter::zero_at_start; }) {
    static_assert(
        std::same_as<decltype(Adapter::zero_at_start), const bool>,
        "preheat: the optional member zero_at_start of an adapter is a static constexpr bool");
    return Adapter::zero_at_start;
  } else {
    return false;
  }
}

// Whether an init leaves one factor zero, so that an adapter which cannot hold every product can
// start from it.
template <class Init>
consteval bool zero_factors() {
  if constexpr (requires { Init::zero_factors; }) {
    static_assert(
        std::same_as<decltype(Init::zero_factors), const bool>,
        "preheat: the optional member zero_factors of an init is a static constexpr bool");
    return Init::zero_factors;
  } else {
    return Init::product == initial_product::zero;
  }
}

// The init of every start after a run's first (a chain's next round, ranks added during training).
template <class Init>
const auto& restart_init(const Init& init) {
  if constexpr (requires { init.at_restart; }) {
    return init.at_restart;
  } else {
    return init;
  }
}

// Calls make_shared of an adapter whose layers share factors; nullptr for all others.
template <class Adapter, backend Be>
shared_pointer<Adapter, Be> make_shared_factors(const Adapter& adapter, Be& be, layer_shape largest,
                                                index_t rank, const generator& gen) {
  if constexpr (shares_factors<Adapter, Be>) {
    using shared = typename Adapter::template shared<Be>;
    static_assert(!Adapter::has_factors,
                  "preheat: an adapter whose layers share factors draws them itself and takes none "
                  "from an init: has_factors = false");
    static_assert(
        requires {
          { adapter.make_shared(be, largest, rank, gen) } -> std::same_as<shared>;
        },
        "preheat: an adapter with the optional member shared<Be> needs `shared<Be> "
        "make_shared(Be&, layer_shape largest, index_t rank, const generator&) const`");
    static_assert(
        requires(typename Adapter::template params<Be> p) {
          { (p.shared) } -> std::same_as<shared_pointer<Adapter, Be>&>;
        },
        "preheat: an adapter with the optional member shared<Be> keeps it in a member "
        "`std::shared_ptr<const shared<Be>> shared` of params<Be>");
    return std::make_shared<const shared>(adapter.make_shared(be, largest, rank, gen));
  } else {
    return nullptr;
  }
}

// The rank of an adapter's parameters; 0 for an adapter that has none.
template <class Adapter, backend Be>
index_t rank_of(const Adapter& adapter, Be& be, const typename Adapter::template params<Be>& p) {
  if constexpr (requires { adapter.rank(p); }) {
    return adapter.rank(p);
  } else if constexpr (!Adapter::has_factors) {
    return 0;
  } else if constexpr (requires { p.A.rows(); }) {
    return p.A.rows();
  } else {
    return adapter.product(be, p).A.rows();
  }
}

// Whether an adapter has a rank: it is made of factors, or it says what its rank is.
template <class Adapter, class Be>
inline constexpr bool has_rank = bool(Adapter::has_factors) ||
                                 requires(const Adapter& adapter,
                                          const typename Adapter::template params<Be>& p) {
  adapter.rank(p);
};

// W += ΔW (m×n) and, for an adapter that trains the bias, b += Δb.
template <class Adapter, backend Be>
void merge_into(const Adapter& adapter, Be& be, const typename Adapter::template params<Be>& p,
                scalar_of<Be> scaling, view_of<Be> W, view_of<Be> b) {
  if constexpr (requires { adapter.merge(be, p, scaling, W, b); }) {
    adapter.merge(be, p, scaling, W, b);
  } else {
    const factors<Be> f = adapter.product(be, p);
    if (f.R.rows() > 0) {
      mat<Be> BR = be.zeros(f.B.rows(), f.R.cols());
      be.gemm(1, transpose::no, f.B, transpose::no, f.R, 0, BR);
      be.gemm(scaling, transpose::no, BR, transpose::no, f.A, 1, W);
    } else {
      be.gemm(scaling, transpose::no, f.B, transpose::no, f.A, 1, W);
    }
  }
}

}  // namespace preheat
