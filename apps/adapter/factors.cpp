#include "factors.hpp"

#include <cmath>
#include <utility>

#include <preheat/convert/recompress.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/init/hrp_start.hpp>
#include <preheat/linalg/factored_product.hpp>

namespace apps::adapter {

namespace linalg = preheat::linalg;
using preheat::singular_side;
using preheat::transpose;

template <class T>
using backend = preheat::cpu<T>;

namespace {

// The factors of (B·A)ᵀ = Aᵀ·Bᵀ, from the file's layout and back.
template <class T>
preheat::factors<backend<T>> of_transpose(stored_factors<T> f) {
  return {std::move(f.Bt), std::move(f.At)};
}
template <class T>
stored_factors<T> as_stored(preheat::factors<backend<T>> f) {
  return {std::move(f.B), std::move(f.A)};
}

// The factors of all terms, and the same as the library takes them.
template <class T>
struct read_terms {
  explicit read_terms(const std::vector<peft::term>& terms) {
    for (const peft::term& t : terms) {
      factors.push_back(read_term<T>(t));
    }
    for (const stored_factors<T>& f : factors) {
      of_transpose.push_back({f.Bt, f.At});
    }
  }
  std::vector<stored_factors<T>> factors;
  std::vector<preheat::weighted_factors<backend<T>>> of_transpose;
};

}  // namespace

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

template <class T>
void require_finite(const safetensors::tensor_files& files, const std::string& name,
                    view<const T> values) {
  if (!std::isfinite(double(backend<T>().max_abs(values)))) {
    throw preheat::invalid_argument(files.source().string() + ": tensor \"" + name +
                                    "\" has a NaN or infinite entry");
  }
}

template <class T>
matrix<T> read_finite(const safetensors::tensor_files& files, const std::string& name, index_t rows,
                      index_t cols) {
  matrix<T> M(cols, rows);
  safetensors::read_rows<T>(name, files.info(name), 0, M);
  files.release(name);
  require_finite<T>(files, name, M);
  return M;
}

template <class T>
matrix<T> zeros(index_t rows, index_t cols) {
  return backend<T>().zeros(rows, cols);
}

template <class T>
matrix<T> transposed(view<const T> M) {
  backend<T> be;
  return linalg::transposed<backend<T>>(be, M);
}

template <class T>
void multiply(double factor, view<T> M) {
  if (factor != 1) {
    backend<T>().apply(linalg::scale<T>{T(factor)}, M);
  }
}

template <class T>
void scale_rows(view<const T> d, view<T> M) {
  backend<T>().scale_rows(d, M);
}

template <class T>
void add(double s, view<const T> y, view<T> x) {
  backend<T>().apply(linalg::axpby<T>{T(s), 1}, x, y);
}

template <class T>
void add_product(double s, transpose a, view<const T> A, transpose b, view<const T> B, view<T> C) {
  backend<T>().gemm(T(s), a, A, b, B, 1, C);
}

template <class T>
double norm(view<const T> M) {
  return std::sqrt(double(backend<T>().dot(M, M)));
}

template <class T>
double overlap(view<const T> a, view<const T> b, index_t k) {
  backend<T> be;
  return linalg::subspace_overlap<backend<T>>(be, a, b, k);
}

template <class T>
stored_factors<T> read_term(const peft::term& t) {
  const peft::adapter_layer& l = *t.layer;
  for (const double weight : {t.weights.on_A, t.weights.on_B}) {
    const bool held = std::isfinite(T(weight)) && (weight == 0 || T(weight) != 0);
    if (!held) {
      throw preheat::invalid_argument(t.adapter->path().string() + ": module " + l.module +
                                      ": its scale is " +
                                      preheat::detail::shown_number(weight).text() +
                                      ", which is no number that can be computed with");
    }
  }
  stored_factors<T> f{read_finite<T>(t.adapter->files(), l.A, l.rank, l.in),
                      read_finite<T>(t.adapter->files(), l.B, l.out, l.rank)};
  multiply<T>(t.weights.on_A, f.At);
  multiply<T>(t.weights.on_B, f.Bt);
  return f;
}

template <class T>
stored_factors<T> concatenated(const std::vector<peft::term>& terms) {
  if (terms.size() == 1) {
    return read_term<T>(terms.front());
  }
  backend<T> be;
  return as_stored<T>(preheat::concatenated<backend<T>>(be, read_terms<T>(terms).of_transpose));
}

template <class T>
stored_factors<T> added(const std::vector<peft::term>& terms) {
  backend<T> be;
  return as_stored<T>(preheat::added<backend<T>>(be, read_terms<T>(terms).of_transpose));
}

template <class T>
singular_triplets<T> triplets(const stored_views<T>& f, index_t k, const preheat::generator& gen) {
  backend<T> be;
  auto d = linalg::factored_svd<backend<T>>(be, f.At, f.Bt, k, gen);
  std::swap(d.U, d.V);
  linalg::fix_signs(be, d.U, d.V);
  return {std::move(d.U), std::move(d.S), std::move(d.V)};
}

template <class T>
stored_factors<T> with_values_on_B(singular_triplets<T> d) {
  backend<T> be;
  // B of the product is A of its transpose.
  return as_stored<T>(linalg::factors_with_values_on(
      be, preheat::parameter_role::A, {std::move(d.V), std::move(d.S), std::move(d.U)}));
}

template <class T>
stored_factors<T> with_values_on_both(singular_triplets<T> d) {
  backend<T> be;
  return as_stored<T>(
      linalg::balanced_factors<backend<T>>(be, {std::move(d.V), std::move(d.S), std::move(d.U)}));
}

template <class T>
double squared_norm(const stored_views<T>& f) {
  backend<T> be;
  return linalg::squared_product_norm<backend<T>>(be, f.At, f.Bt);
}

template <class T>
std::vector<double> spectrum(const stored_views<T>& f) {
  backend<T> be;
  return linalg::product_spectrum<backend<T>>(be, f.At, f.Bt);
}

template <class T>
recompressed_factors<T> recompressed(stored_factors<T> f, index_t rank) {
  backend<T> be;
  const index_t before = f.At.cols();
  preheat::plain_lora<backend<T>> small = preheat::recompress(
      be, preheat::plain_lora<backend<T>>{.f = of_transpose(std::move(f)), .rank = before}, rank);
  return {as_stored<T>(std::move(small.f)), small.retained_energy()};
}

template <class T>
low_rank_start<T> hrp_start(const stored_views<T>& f, index_t rank, bool left, double row_norm,
                            const preheat::generator& gen) {
  backend<T> be;
  // The left side of the product is the right side of its transpose.
  auto start = preheat::init::hrp_start<backend<T>>(
      be, f.At, f.Bt, rank, left ? singular_side::right : singular_side::left, row_norm, gen);
  return {as_stored<T>(std::move(start.f)), std::move(start.sigma)};
}

template void require_finite(const safetensors::tensor_files&, const std::string&,
                             view<const float>);
template matrix<float> read_finite(const safetensors::tensor_files&, const std::string&, index_t,
                                   index_t);
template matrix<float> zeros(index_t, index_t);
template matrix<float> transposed(view<const float>);
template void multiply(double, view<float>);
template void scale_rows(view<const float>, view<float>);
template void add(double, view<const float>, view<float>);
template void add_product(double, transpose, view<const float>, transpose, view<const float>,
                          view<float>);
template double norm(view<const float>);
template double overlap(view<const float>, view<const float>, index_t);
template stored_factors<float> read_term(const peft::term&);
template stored_factors<float> concatenated(const std::vector<peft::term>&);
template stored_factors<float> added(const std::vector<peft::term>&);
template singular_triplets<float> triplets(const stored_views<float>&, index_t,
                                           const preheat::generator&);
template stored_factors<float> with_values_on_B(singular_triplets<float>);
template stored_factors<float> with_values_on_both(singular_triplets<float>);
template double squared_norm(const stored_views<float>&);
template std::vector<double> spectrum(const stored_views<float>&);
template recompressed_factors<float> recompressed(stored_factors<float>, index_t);
template low_rank_start<float> hrp_start(const stored_views<float>&, index_t, bool, double,
                                         const preheat::generator&);

template void require_finite(const safetensors::tensor_files&, const std::string&,
                             view<const double>);
template matrix<double> read_finite(const safetensors::tensor_files&, const std::string&, index_t,
                                    index_t);
template matrix<double> zeros(index_t, index_t);
template matrix<double> transposed(view<const double>);
template void multiply(double, view<double>);
template void scale_rows(view<const double>, view<double>);
template void add(double, view<const double>, view<double>);
template void add_product(double, transpose, view<const double>, transpose, view<const double>,
                          view<double>);
template double norm(view<const double>);
template double overlap(view<const double>, view<const double>, index_t);
template stored_factors<double> read_term(const peft::term&);
template stored_factors<double> concatenated(const std::vector<peft::term>&);
template stored_factors<double> added(const std::vector<peft::term>&);
template singular_triplets<double> triplets(const stored_views<double>&, index_t,
                                            const preheat::generator&);
template stored_factors<double> with_values_on_B(singular_triplets<double>);
template stored_factors<double> with_values_on_both(singular_triplets<double>);
template double squared_norm(const stored_views<double>&);
template std::vector<double> spectrum(const stored_views<double>&);
template recompressed_factors<double> recompressed(stored_factors<double>, index_t);
template low_rank_start<double> hrp_start(const stored_views<double>&, index_t, bool, double,
                                          const preheat::generator&);

}  // namespace apps::adapter
