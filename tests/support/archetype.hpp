// A backend that has exactly what concept `backend` promises, so that a policy that uses anything
// else does not compile, or fails:
//
//   - its matrix is a type of its own: move-only, with data(), rows(), cols(), ld() and no more;
//   - data() is not an address of the host, as on a device: to dereference it is a fault;
//   - columns have gaps (ld = rows + 3), and a fresh or resized matrix is full of NaN;
//   - a kernel must be trivially copyable;
//   - it can also classify (nn/loss.hpp) and work on columns (nn/encoder_backend.hpp,
//     nn/decoder_backend.hpp), which is not part of the concept.
//
// It keeps a record of what ran: calls by name, the shape of every matrix that was made or resized,
// allocations. The arithmetic is that of cpu<T, eigen_kernels>. Defined in archetype.cpp.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <preheat/core/concepts.hpp>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace conformance {

using preheat::index_t;
using preheat::transpose;
using preheat::view;

template <class T>
class archetype {
 public:
  using scalar = T;

  class matrix {
   public:
    matrix() = default;
    matrix(matrix&& other) noexcept { swap(other); }
    matrix& operator=(matrix&& other) noexcept {
      matrix(std::move(other)).swap(*this);
      return *this;
    }
    T* data() { return to_device(memory_.get()); }
    const T* data() const { return to_device(memory_.get()); }
    index_t rows() const { return rows_; }
    index_t cols() const { return cols_; }
    index_t ld() const { return ld_; }

   private:
    friend class archetype;
    void swap(matrix& other) noexcept {
      std::swap(memory_, other.memory_);
      std::swap(capacity_, other.capacity_);
      std::swap(rows_, other.rows_);
      std::swap(cols_, other.cols_);
      std::swap(ld_, other.ld_);
    }

    std::unique_ptr<T[]> memory_;
    index_t capacity_ = 0;
    index_t rows_ = 0;
    index_t cols_ = 0;
    index_t ld_ = gap;
  };

  archetype() = default;
  archetype(const archetype&) = delete;
  archetype& operator=(const archetype&) = delete;

  // --- the record
  using shape = std::pair<index_t, index_t>;
  std::map<std::string, long> calls;
  std::set<shape> shapes;
  long allocations = 0;
  void forget() {
    calls.clear();
    shapes.clear();
    allocations = 0;
  }
  // Whether a matrix of this shape, or of its transpose, was ever made.
  bool made(index_t rows, index_t cols) const {
    return shapes.contains({rows, cols}) || shapes.contains({cols, rows});
  }

  // --- concept backend
  std::string describe() const;
  matrix zeros(index_t m, index_t n);
  void resize(matrix& M, index_t m, index_t n);
  void upload(std::span<const T> host, view<T> x);
  std::vector<T> download(view<const T> a);
  void fill(T value, view<T> x);
  void copy(transpose t, view<const T> a, view<T> x);
  template <class F, class M, class... Ms>
  void apply(F f, M&& x, Ms&&... others) {
    static_assert(std::is_trivially_copyable_v<F>, "a kernel travels to a device by value");
    ++calls["each"];
    loop([f](index_t, auto&... values) { f(values...); }, to_host(view(x)),
         to_host(view(others))...);
  }
  template <class F, class M, class... Ms>
  void apply_indexed(F f, M&& x, Ms&&... others) {
    static_assert(std::is_trivially_copyable_v<F>, "a kernel travels to a device by value");
    ++calls["apply_indexed"];
    loop(f, to_host(view(x)), to_host(view(others))...);
  }
  void scale_rows(view<const T> d, view<T> x);
  void scale_cols(view<const T> d, view<T> x);
  void add_to_cols(view<const T> b, view<T> x);
  void add_row_sums(T s, view<const T> a, view<T> x);
  void add_row_dots(T s, view<const T> a, view<const T> b, view<T> x);
  T dot(view<const T> a, view<const T> b);
  T max_abs(view<const T> a);
  void gemm(T alpha, transpose ta, view<const T> a, transpose tb, view<const T> b, T beta,
            view<T> c);
  void gram(transpose t, view<const T> a, view<T> c);
  bool cholesky(view<T> g);
  void solve_upper(transpose t, view<const T> r, view<T> x);
  preheat::qr_result<matrix> qr(view<const T> a);
  preheat::svd_result<matrix> svd(view<const T> a);
  preheat::eigh_result<matrix> eigh(view<const T> a);

  // --- for networks that classify
  T softmax_cross_entropy(view<const T> z, view<const T> labels, view<T> d);

  // --- for encoders
  void softmax_cols(view<T> x);
  void softmax_cols_gradient(view<const T> p, view<T> d);
  void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x, view<T> r,
                  view<T> y);
  void layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<T> d);

  // --- for decoders
  void softmax_cols_causal(index_t shift, index_t window, view<T> x);
  void rms_norm(T epsilon, view<const T> gamma, view<const T> x, view<T> r, view<T> y);
  void rms_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<const T> d,
                         view<T> dx);

 private:
  static constexpr index_t gap = 3;
  // No process has memory_kind where this bit of an address is set.
  static constexpr std::uintptr_t device_bit = std::uintptr_t(1) << 62U;
  static_assert(sizeof(void*) == 8);

  template <class P>
  static P* to_device(P* p) {
    return reinterpret_cast<P*>(reinterpret_cast<std::uintptr_t>(p) | device_bit);
  }
  template <class P>
  static view<P> to_host(view<P> v) {
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(v.data()) & ~device_bit;
    return view<P>(reinterpret_cast<P*>(address), v.rows(), v.cols(), v.ld());
  }
  template <class F, class V, class... Vs>
  static void loop(F f, V x, Vs... others) {
    preheat::require(((others.rows() == x.rows() && others.cols() == x.cols()) && ...),
                     "each: shapes agree");
    for (index_t j = 0; j < x.cols(); ++j) {
      for (index_t i = 0; i < x.rows(); ++i) {
        f(i + j * x.rows(), x.data()[i + j * x.ld()], others.data()[i + j * others.ld()]...);
      }
    }
  }
  template <class M>
  matrix take(const M& result);
};

static_assert(preheat::backend<archetype<double>>);

}  // namespace conformance
