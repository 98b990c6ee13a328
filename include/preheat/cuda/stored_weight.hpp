// A frozen weight of cuda<T, Storage> on the device, in the second number type or as codes of 4 bits; copies
// share it.
//
//   cuda<float, cuda_bf16> be;                             // cuda/bf16.hpp
//   layer.W = be.store(layer.W);                           // from now on 2 bytes an entry
//   layer.W = be.store(nf4.coded());                       // or 4.5 bits (storage/nf4_rows.hpp)
//   be.gemm(1, transpose::no, weight_view<Be>(layer.W), transpose::no, X, 0, Y);
//
// The product reads a W of the second type as it lies, expands one of codes to that type first, as a whole;
// it rounds its other factor to the type, and sums and writes T:  Y = alpha·op(W)·op(round(X)) + beta·Y.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "../core/coded_matrix.hpp"
#include "launch.hpp"
#include "matrix.hpp"
#include "mixed_gemm.hpp"

namespace preheat {

namespace cuda_kernels {

// The two entries of byte k: of a matrix by rows of `cols`, as columns of `to`.
template <class S>
struct expand_codes {
  const std::uint8_t* codes;
  const float* scales;
  std::array<float, 16> levels;
  index_t block, cols, count;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    write(2 * k, codes[k] >> 4);
    if (2 * k + 1 < count) {
      write(2 * k + 1, codes[k] & 0xF);
    }
  }
  constexpr void write(index_t k, int code) const {
    to[k % cols + k / cols * ld] = S(scales[k / block] * levels[std::size_t(code)]);
  }
};

// The same as `rows` rows of `to`, whose neighbours a device's threads write at once: index k is up to `run` entries
// of one row.
template <class S>
struct expand_codes_by_rows {
  static constexpr index_t run = 64;
  const std::uint8_t* codes;
  const float* scales;
  std::array<float, 16> levels;
  index_t block, rows, cols;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    const index_t i = k % rows;
    const index_t first = k / rows * run;
    const index_t end = first + run < cols ? first + run : cols;
    for (index_t j = first; j < end; ++j) {
      const index_t entry = i * cols + j;
      const int pair = codes[entry / 2];
      const int code = entry % 2 == 0 ? pair >> 4 : pair & 0xF;
      to[i + j * ld] = S(scales[entry / block] * levels[std::size_t(code)]);
    }
  }
};

}  // namespace cuda_kernels

namespace detail {

// coded_matrix on the device.
struct cuda_codes {
  index_t rows, cols, block;
  std::array<float, 16> levels;
  std::string type_name;
  cuda_matrix<std::uint8_t> codes;
  cuda_matrix<float> scales;

  cuda_codes(const std::shared_ptr<const cuda_context>& context, const coded_matrix& W)
      : rows(W.rows), cols(W.cols), block(W.block), levels(W.levels), type_name(W.type_name) {
    const index_t count = rows * cols;
    require(block >= 1, "codes of 4 bits: entries of a block >= 1", block, 1);
    require(index_t(W.codes.size()) == (count + 1) / 2, "codes of 4 bits: a byte for two entries",
            W.codes.size(), (count + 1) / 2);
    require(index_t(W.scales.size()) == (count + block - 1) / block,
            "codes of 4 bits: a scale for a block", W.scales.size(), (count + block - 1) / block);
    send(context, W.codes, codes);
    send(context, W.scales, scales);
    context->synchronize();  // from here on the caller may change the host's memory
  }

  template <class X>
  static void send(const std::shared_ptr<const cuda_context>& context, std::span<const X> from,
                   cuda_matrix<X>& to) {
    const index_t count = index_t(from.size());
    to.resize(context, count, 1);
    cuda_transfer<X>(*context, view<const X>(from.data(), count, 1), to, cudaMemcpyHostToDevice);
  }
};

}  // namespace detail

// The buffers of a product with such a weight.
template <class S, class T>
struct cuda_product_scratch {
  cuda_matrix<S> operand;   // the other factor, rounded
  cuda_matrix<S> expanded;  // Wᵀ, if W is codes
  cuda_matrix<T> wide;      // and Wᵀ in T, for a dense copy
};

template <class S>
class cuda_stored_weight {
 public:
  template <class Be>
  using scratch = cuda_product_scratch<S, typename Be::scalar>;

  cuda_stored_weight() = default;
  explicit cuda_stored_weight(cuda_matrix<S> W)
      : W_(std::make_shared<const cuda_matrix<S>>(std::move(W))) {}
  cuda_stored_weight(const std::shared_ptr<const cuda_context>& context, const coded_matrix& W)
      : codes_(std::make_shared<const detail::cuda_codes>(context, W)) {}

  bool empty() const { return W_ == nullptr && codes_ == nullptr; }
  index_t rows() const { return codes_ ? codes_->rows : W_ ? W_->rows() : 0; }
  index_t cols() const { return codes_ ? codes_->cols : W_ ? W_->cols() : 0; }
  std::size_t bytes() const {
    return codes_ ? std::size_t(codes_->codes.rows()) +
                        std::size_t(codes_->scales.rows()) * sizeof(float)
                  : std::size_t(rows() * cols()) * sizeof(S);
  }
  std::string type_name() const { return codes_ ? codes_->type_name : cuda_storage_type<S>::name; }
  // W, if it is kept in S, else nothing.
  view<const S> entries() const { return codes_ || !W_ ? view<const S>() : view<const S>(*W_); }
  // Whether values() has Wᵀ.
  bool is_transposed() const { return codes_ != nullptr; }
  // W in S, or Wᵀ in S, expanded now.
  view<const S> values(const std::shared_ptr<const cuda_context>& context,
                       cuda_matrix<S>& expanded) const {
    if (!codes_) {
      return *W_;
    }
    expanded.resize(context, codes_->cols, codes_->rows);
    launch(*context, codes_->codes.rows(),
           cuda_kernels::expand_codes<S>{
               codes_->codes.data(), codes_->scales.data(), codes_->levels, codes_->block,
               codes_->cols, codes_->cols * codes_->rows, expanded.data(), expanded.ld()});
    return expanded;
  }
  // x = W, of codes: not transposed, also where x is a part of a matrix.
  void expand(const cuda_context& context, view<S> x) const {
    using kernel = cuda_kernels::expand_codes_by_rows<S>;
    const index_t runs = (x.cols() + kernel::run - 1) / kernel::run;
    launch(context, x.rows() * runs,
           kernel{codes_->codes.data(), codes_->scales.data(), codes_->levels, codes_->block,
                  x.rows(), x.cols(), x.data(), x.ld()});
  }

 private:
  std::shared_ptr<const cuda_matrix<S>> W_;
  std::shared_ptr<const detail::cuda_codes> codes_;
};

namespace detail {
// The member type of a backend of two number types; cuda<T> has none.
template <class T, class Storage>
struct cuda_storage {
  using stored_weight = cuda_stored_weight<Storage>;
};
template <class T>
struct cuda_storage<T, T> {};
}  // namespace detail

}  // namespace preheat
