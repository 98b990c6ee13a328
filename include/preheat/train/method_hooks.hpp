// The hooks of a whole method: those of its five policies, called in the order adapter, init,
// optim, rank, chain.
#pragma once
#include "../core/hooks.hpp"
#include "../method.hpp"

namespace preheat {

template <class Hook, class Method, class... Args>
void call_hooks(const Method& method, Args&&... args) {
  call_hook<Hook>(method.adapter, args...);
  if constexpr (Method::adapter_type::has_factors) {
    call_hook<Hook>(method.init, args...);
  }
  call_hook<Hook>(method.optim, args...);
  call_hook<Hook>(method.rank, args...);
  call_hook<Hook>(method.chain, args...);
}

// Whether some policy of the method has this hook.
template <class Hook, class Method>
inline constexpr bool any_has_hook =
    has_hook<Hook, typename Method::adapter_type>() ||
    has_hook<Hook, typename Method::init_type>() || has_hook<Hook, typename Method::optim_type>() ||
    has_hook<Hook, typename Method::rank_type>() || has_hook<Hook, typename Method::chain_type>();

}  // namespace preheat
