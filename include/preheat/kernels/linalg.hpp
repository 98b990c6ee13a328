// The linear algebra that preheat::kernels has compiled for the CPU backends.
#pragma once
#include "../cpu/compiled_backends.hpp"
#include "../linalg/factored_svd.hpp"
#include "../linalg/krylov_svd.hpp"
#include "../linalg/minor_svd.hpp"
#include "../linalg/nf4.hpp"
#include "../linalg/orthogonal.hpp"
#include "../linalg/random_matrix.hpp"
#include "../linalg/symmetric.hpp"
#include "../linalg/truncated_svd.hpp"

// Explicit instantiations for a backend, or with EXTERN = extern their declarations.
#define PREHEAT_LINALG(EXTERN, ...)                                                                \
  EXTERN template mat<__VA_ARGS__> product(__VA_ARGS__&, transpose, const_view_of<__VA_ARGS__>,    \
                                           transpose, const_view_of<__VA_ARGS__>,                  \
                                           scalar_of<__VA_ARGS__>);                                \
  EXTERN template mat<__VA_ARGS__> identity(__VA_ARGS__&, index_t);                                \
  EXTERN template mat<__VA_ARGS__> gram(__VA_ARGS__&, transpose, const_view_of<__VA_ARGS__>);      \
  EXTERN template mat<__VA_ARGS__> transposed(__VA_ARGS__&, const_view_of<__VA_ARGS__>);           \
  EXTERN template double require_finite(__VA_ARGS__&, const_view_of<__VA_ARGS__>,                  \
                                        const std::string&);                                       \
  EXTERN template mat<__VA_ARGS__> uniform(__VA_ARGS__&, index_t, index_t, double,                 \
                                           const generator&);                                      \
  EXTERN template mat<__VA_ARGS__> normal(__VA_ARGS__&, index_t, index_t, double,                  \
                                          const generator&);                                       \
  EXTERN template mat<__VA_ARGS__> unique_q(__VA_ARGS__&, qr_result<mat<__VA_ARGS__>>);            \
  EXTERN template mat<__VA_ARGS__> orthonormal(__VA_ARGS__&, index_t, index_t, const generator&);  \
  EXTERN template void complete_orthonormal(__VA_ARGS__&, mat<__VA_ARGS__>&, index_t,              \
                                            const generator&);                                     \
  EXTERN template void fix_signs(__VA_ARGS__&, mat<__VA_ARGS__>&, mat<__VA_ARGS__>&);              \
  EXTERN template void set_row_norms(__VA_ARGS__&, mat<__VA_ARGS__>&, double);                     \
  EXTERN template eigh_result<mat<__VA_ARGS__>> symmetric_eigen(__VA_ARGS__&,                      \
                                                                const_view_of<__VA_ARGS__>);       \
  EXTERN template eigh_result<mat<__VA_ARGS__>> largest_eigenpairs(                                \
      __VA_ARGS__&, const_view_of<__VA_ARGS__>, index_t);                                          \
  EXTERN template mat<__VA_ARGS__> damped_pinv(__VA_ARGS__&, const eigh_result<mat<__VA_ARGS__>>&, \
                                               double);                                            \
  EXTERN template mat<__VA_ARGS__> solve_sylvester(                                                \
      __VA_ARGS__&, const eigh_result<mat<__VA_ARGS__>>&, const eigh_result<mat<__VA_ARGS__>>&,    \
      const_view_of<__VA_ARGS__>);                                                                 \
  EXTERN template svd_result<mat<__VA_ARGS__>> factored_svd(                                       \
      __VA_ARGS__&, const_view_of<__VA_ARGS__>, const_view_of<__VA_ARGS__>, index_t,               \
      const generator&, factored_form);                                                            \
  EXTERN template svd_result<mat<__VA_ARGS__>> truncated_svd(__VA_ARGS__&,                         \
                                                             const_view_of<__VA_ARGS__>, index_t); \
  EXTERN template svd_result<mat<__VA_ARGS__>> minor_svd(__VA_ARGS__&, const_view_of<__VA_ARGS__>, \
                                                         index_t);                                 \
  EXTERN template svd_result<mat<__VA_ARGS__>> randomized_svd(                                     \
      __VA_ARGS__&, const_view_of<__VA_ARGS__>, index_t, const randomized_options&,                \
      const generator&);                                                                           \
  EXTERN template svd_result<mat<__VA_ARGS__>> krylov_svd(                                         \
      __VA_ARGS__&, const_view_of<__VA_ARGS__>, index_t, const krylov_options&, const generator&); \
  EXTERN template mat<__VA_ARGS__> nf4_rounded(__VA_ARGS__&, const_view_of<__VA_ARGS__>, index_t);

namespace preheat::linalg {

PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, extern, float)
PREHEAT_COMPILED_BACKENDS(PREHEAT_LINALG, extern, double)

}  // namespace preheat::linalg
