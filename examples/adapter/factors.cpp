#include "factors.hpp"

#include <cmath>
#include <utility>

#include <preheat/cpu/backend.hpp>
#include <preheat/linalg/factored_svd.hpp>

namespace adapters {

namespace linalg = preheat::linalg;
using preheat::op;

template <class T>
using backend = preheat::cpu<T>;

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

template <class T>
void require_finite(const io::tensor_files& files, const std::string& name, view<const T> values) {
  if (!std::isfinite(double(backend<T>().max_abs(values)))) {
    throw preheat::invalid_argument(files.source().string() + ": tensor \"" + name +
                                    "\" has a NaN or infinite entry");
  }
}

template <class T>
matrix<T> read_finite(const io::tensor_files& files, const std::string& name, index_t rows,
                      index_t cols) {
  matrix<T> M(cols, rows);
  io::read_rows<T>(name, files.info(name), 0, M);
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
    backend<T>().each(linalg::scale<T>{T(factor)}, M);
  }
}

template <class T>
void scale_rows(view<const T> d, view<T> M) {
  backend<T>().scale_rows(d, M);
}
template <class T>
void scale_columns(view<const T> d, view<T> M) {
  backend<T>().scale_cols(d, M);
}

template <class T>
void add(double s, view<const T> y, view<T> x) {
  backend<T>().each(linalg::axpby<T>{T(s), 1}, x, y);
}

template <class T>
void add_product(double s, op a, view<const T> A, op b, view<const T> B, view<T> C) {
  backend<T>().gemm(T(s), a, A, b, B, 1, C);
}

template <class T>
double norm(view<const T> M) {
  return std::sqrt(double(backend<T>().dot(M, M)));
}

template <class T>
double squared_product(view<const T> A, view<const T> B) {
  backend<T> be;
  const matrix<T> M = linalg::product<backend<T>>(be, op::trans, A, op::none, B);
  return double(be.dot(M, M));
}

template <class T>
stored_factors<T> read_term(const term& t) {
  const io::peft_layer& l = *t.layer;
  stored_factors<T> f{read_finite<T>(t.adapter->files(), l.A, l.rank, l.in),
                      read_finite<T>(t.adapter->files(), l.B, l.out, l.rank)};
  multiply<T>(t.on_A, f.At);
  multiply<T>(t.on_B, f.Bt);
  return f;
}

template <class T>
stored_factors<T> stacked(const std::vector<term>& terms) {
  if (terms.size() == 1) {
    return read_term<T>(terms.front());
  }
  index_t rank = 0;
  for (const term& t : terms) {
    rank += t.layer->rank;
  }
  backend<T> be;
  stored_factors<T> all{be.zeros(terms.front().layer->in, rank),
                        be.zeros(rank, terms.front().layer->out)};
  index_t at = 0;
  for (const term& t : terms) {
    const stored_factors<T> one = read_term<T>(t);
    be.copy(op::none, one.At, view(all.At).col_range(at, t.layer->rank));
    be.copy(op::none, one.Bt, view(all.Bt).row_range(at, t.layer->rank));
    at += t.layer->rank;
  }
  return all;
}

template <class T>
stored_factors<T> summed(const std::vector<term>& terms) {
  stored_factors<T> sum = read_term<T>(terms.front());
  for (std::size_t i = 1; i < terms.size(); ++i) {
    const stored_factors<T> one = read_term<T>(terms[i]);
    add<T>(1, one.At, sum.At);
    add<T>(1, one.Bt, sum.Bt);
  }
  return sum;
}

template <class T>
singular_triplets<T> triplets(const stored_factors<T>& f, index_t k,
                              const preheat::generator& gen) {
  backend<T> be;
  auto d = linalg::factored_svd<backend<T>>(be, f.At, f.Bt, k, gen);
  std::swap(d.U, d.V);
  linalg::fix_signs(be, d.U, d.V);
  return {std::move(d.U), std::move(d.S), std::move(d.V)};
}

template <class T>
double squared_norm(const stored_factors<T>& f) {
  backend<T> be;
  const double a = double(be.max_abs(f.At));
  const double b = double(be.max_abs(f.Bt));
  if (a == 0 || b == 0) {
    return 0;
  }
  matrix<T> GA = linalg::gram<backend<T>>(be, op::trans, f.At);
  matrix<T> GB = linalg::gram<backend<T>>(be, op::none, f.Bt);
  multiply<T>(1 / (a * a), GA);
  multiply<T>(1 / (b * b), GB);
  const double square = double(be.dot(GA, GB));
  double bound = 1;  // ‖A‖²·‖B‖²
  for (const matrix<T>* G : {&GA, &GB}) {
    double trace = 0;
    for (index_t i = 0; i < G->rows(); ++i) {
      trace += double(G->data()[i + i * G->ld()]);
    }
    bound *= trace;
  }
  // Where the terms cancel, as in B·A − B₀·A₀ of little training, their rounding is what is left.
  constexpr double least_share = 1e-3;
  if (square >= least_share * bound) {
    return square * a * a * b * b;
  }
  double sum = 0;
  for (const double s : spectrum(f)) {
    sum += s * s;
  }
  return sum;
}

template void require_finite(const io::tensor_files&, const std::string&, view<const float>);
template matrix<float> read_finite(const io::tensor_files&, const std::string&, index_t, index_t);
template matrix<float> zeros(index_t, index_t);
template matrix<float> transposed(view<const float>);
template void multiply(double, view<float>);
template void scale_rows(view<const float>, view<float>);
template void scale_columns(view<const float>, view<float>);
template void add(double, view<const float>, view<float>);
template void add_product(double, op, view<const float>, op, view<const float>, view<float>);
template double norm(view<const float>);
template double squared_product(view<const float>, view<const float>);
template stored_factors<float> read_term(const term&);
template stored_factors<float> stacked(const std::vector<term>&);
template stored_factors<float> summed(const std::vector<term>&);
template singular_triplets<float> triplets(const stored_factors<float>&, index_t,
                                           const preheat::generator&);
template double squared_norm(const stored_factors<float>&);

template void require_finite(const io::tensor_files&, const std::string&, view<const double>);
template matrix<double> read_finite(const io::tensor_files&, const std::string&, index_t, index_t);
template matrix<double> zeros(index_t, index_t);
template matrix<double> transposed(view<const double>);
template void multiply(double, view<double>);
template void scale_rows(view<const double>, view<double>);
template void scale_columns(view<const double>, view<double>);
template void add(double, view<const double>, view<double>);
template void add_product(double, op, view<const double>, op, view<const double>, view<double>);
template double norm(view<const double>);
template double squared_product(view<const double>, view<const double>);
template stored_factors<double> read_term(const term&);
template stored_factors<double> stacked(const std::vector<term>&);
template stored_factors<double> summed(const std::vector<term>&);
template singular_triplets<double> triplets(const stored_factors<double>&, index_t,
                                            const preheat::generator&);
template double squared_norm(const stored_factors<double>&);

}  // namespace adapters
