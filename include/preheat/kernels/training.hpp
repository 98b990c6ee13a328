// The parts of training that preheat::kernels has compiled: plain LoRA, and LoRA with a frozen A (HRP
// preheats with it), on the default backends; what a run does whatever its method and its backend.
#pragma once
#include "../core/archive.hpp"
#include "../cpu/compiled_backends.hpp"
#include "../init/hrp.hpp"
#include "../operators/adapted.hpp"
#include "../optim/adam.hpp"
#include "../train/calibration.hpp"
#include "../train/gradient_all_reduce.hpp"
#include "../train/gradients.hpp"

// Explicit instantiations for a scalar, or with EXTERN = extern their declarations.
#define PREHEAT_SAVED(EXTERN, T, ...) \
  EXTERN template void archive<cpu<T>>::operator()(std::string_view, __VA_ARGS__&);
#define PREHEAT_ADAPTED(EXTERN, T, ...)                                                           \
  EXTERN template adapted<cpu<T>, __VA_ARGS__>::adapted(cpu<T>&, std::span<base_layer<cpu<T>>>,   \
                                                        __VA_ARGS__, layer_products);             \
  EXTERN template void adapted<cpu<T>, __VA_ARGS__>::attach(index_t, __VA_ARGS__::params<cpu<T>>, \
                                                            T);                                   \
  EXTERN template void adapted<cpu<T>, __VA_ARGS__>::zero_gradients();                            \
  EXTERN template view<T> adapted<cpu<T>, __VA_ARGS__>::forward(index_t, view<const T>);          \
  EXTERN template view<T> adapted<cpu<T>, __VA_ARGS__>::backward(index_t, view<const T>,          \
                                                                 view<const T>, bool);            \
  EXTERN template void scale_gradients(adapted<cpu<T>, __VA_ARGS__>&, double);                    \
  EXTERN template double gradient_norm(adapted<cpu<T>, __VA_ARGS__>&);                            \
  EXTERN template step_context trained_counts(                                                    \
      const std::vector<adapted<cpu<T>, __VA_ARGS__>::adapted_layer>&);                           \
  PREHEAT_SAVED(EXTERN, T, __VA_ARGS__::params<cpu<T>>)
#define PREHEAT_TRAINING(EXTERN, T)                                                              \
  EXTERN template class gradient_all_reduce<cpu<T>>;                                             \
  EXTERN template void archive<cpu<T>>::matrix(cpu_matrix<T>&);                                  \
  PREHEAT_SAVED(EXTERN, T, index_t)                                                              \
  PREHEAT_SAVED(EXTERN, T, double)                                                               \
  PREHEAT_SAVED(EXTERN, T, bool)                                                                 \
  PREHEAT_SAVED(EXTERN, T, std::vector<double>)                                                  \
  PREHEAT_SAVED(EXTERN, T, std::vector<evaluation>)                                              \
  EXTERN template void frozen_weight<cpu<T>>::throw_stored() const;                              \
  EXTERN template view<const T> weight_view<cpu<T>>::unpacked() const;                           \
  EXTERN template init::hrp_start_result<cpu<T>> init::hrp_start(                                \
      cpu<T>&, view<const T>, view<const T>, index_t, singular_side, const init::row_norm_rule&, \
      const generator&);                                                                         \
  EXTERN template void optim::adamw::step_matrix(cpu<T>&, view<T>, view<T>,                      \
                                                 optim::adam_state<view<T>>, view<T>,            \
                                                 const step_context&, parameter_role) const;     \
  EXTERN template factors<cpu<T>> init::hrp<>::operator()(cpu<T>&, const target_layer<cpu<T>>&,  \
                                                          const factors<cpu<T>>&) const;         \
  PREHEAT_ADAPTED(EXTERN, T, adapter::lora)                                                      \
  PREHEAT_ADAPTED(EXTERN, T, adapter::low_rank<true, false>)                                     \
  PREHEAT_ADAPTED(EXTERN, T, adapter::low_rank<false, true>)

// The same of what no scalar decides.
#define PREHEAT_ANY_SCALAR(EXTERN)                                                                \
  EXTERN template void detail::throw_broken_law<>(std::string_view, detail::shown_number,         \
                                                  detail::shown_number);                          \
  EXTERN template void detail::throw_broken_law<>(std::string_view);                              \
  EXTERN template void detail::throw_broken_sizes<>(const char*, std::ptrdiff_t, std::ptrdiff_t); \
  EXTERN template void detail::require_same_sizes<>(const char*, index_t, index_t, index_t,       \
                                                    index_t);                                     \
  EXTERN template class detail::archive_cursor<training_state>;                                   \
  EXTERN template fit_options for_this_process<>(const fit_options&);                             \
  EXTERN template fit_options preheating_options<>(const fit_options&, index_t, index_t,          \
                                                   std::uint64_t);                                \
  EXTERN template void report_progress<>(const fit_options&, index_t, index_t, double, double,    \
                                         double, std::optional<double>);                          \
  EXTERN template void detail::append<>(std::vector<double>&, double);                            \
  EXTERN template void detail::require_entries<>(std::size_t, std::size_t, std::string_view);     \
  EXTERN template bool matches_target<>(const std::string&, const std::vector<std::string>&);     \
  EXTERN template std::vector<index_t> detail::targeted<>(const std::vector<std::string>&,        \
                                                          const std::vector<std::string>&);       \
  EXTERN template void require_start_rank<>(const std::string&, index_t, index_t);                \
  EXTERN template double start_scaling<>(const fit_options&, index_t, index_t);                   \
  EXTERN template void detail::require_shape<>(detail::shape, const char*, detail::shape,         \
                                               std::string_view, const std::string&);             \
  EXTERN template void detail::require_factor_shapes<>(detail::shape, detail::shape,              \
                                                       detail::shape, detail::shape, index_t,     \
                                                       std::string_view, const std::string&);     \
  EXTERN template void require_settings<>(const fit_options&, std::size_t);

namespace preheat {

PREHEAT_TRAINING(extern, float)
PREHEAT_TRAINING(extern, double)
PREHEAT_ANY_SCALAR(extern)

}  // namespace preheat
