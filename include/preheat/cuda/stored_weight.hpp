// A frozen weight of cuda<T, Storage> on the device: in the second number type, as codes of 4 bits, or in
// the blocks of its file. Copies share it.
//
//   cuda<float, cuda_bf16> be;                             // cuda/bf16.hpp
//   layer.W = be.store(layer.W);                           // from now on 2 bytes an entry
//   layer.W = be.store(nf4.coded());                       // or 4.5 bits (storage/nf4_rows.hpp)
//   layer.W = be.store(block_matrix<gguf::detail::q8_0_block>{…});   // or what the file has: 8.5 bits
//   be.gemm(1, transpose::no, weight_view<Be>(layer.W), transpose::no, X, 0, Y);
//
// The product reads a W of the second type as it lies, expands codes and blocks to that type first, as a whole;
// it rounds its other factor to the type, and sums and writes T:  Y = alpha·op(W)·op(round(X)) + beta·Y.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "../core/block_matrix.hpp"
#include "../core/coded_matrix.hpp"
#include "launch.hpp"
#include "matrix.hpp"
#include "mixed_gemm.hpp"

namespace preheat {

namespace cuda_kernels {

// A matrix of codes of 4 bits, as it lies: by rows, two entries in a byte.
template <class S>
struct coded_entries {
  const std::uint8_t* codes;
  const float* scales;
  std::array<float, 16> levels;
  index_t block;
  constexpr S at(index_t k) const {
    const int pair = codes[k / 2];
    const int code = k % 2 == 0 ? pair >> 4 : pair & 0xF;
    return S(scales[k / block] * levels[std::size_t(code)]);
  }
};

// The two entries of byte k: of a matrix by rows of `cols`, as columns of `to`.
template <class S>
struct expand_codes {
  coded_entries<S> from;
  index_t cols, count;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    write(2 * k);
    if (2 * k + 1 < count) {
      write(2 * k + 1);
    }
  }
  constexpr void write(index_t k) const { to[k % cols + k / cols * ld] = from.at(k); }
};

// The same as `rows` rows of `to`, whose neighbours a device's threads write at once: index k is up to `run` entries
// of one row.
template <class S>
struct expand_codes_by_rows {
  static constexpr index_t run = 64;
  coded_entries<S> from;
  index_t rows, cols;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    const index_t i = k % rows;
    const index_t first = k / rows * run;
    const index_t end = first + run < cols ? first + run : cols;
    for (index_t j = first; j < end; ++j) {
      to[i + j * ld] = from.at(i * cols + j);
    }
  }
};

// Block k of a matrix by rows of `in_a_row` blocks, into columns of `to`.
template <class S, class Block>
struct expand_blocks {
  const Block* blocks;
  index_t in_a_row;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    unpack(blocks[k], to + k / in_a_row * ld + k % in_a_row * Block::entries);
  }
};

// The same as `rows` rows of `to`, whose neighbours a device's threads write at once: index k is one block of a row.
template <class S, class Block>
struct expand_blocks_by_rows {
  const Block* blocks;
  index_t in_a_row, rows;
  S* to;
  index_t ld;
  constexpr void operator()(index_t k) const {
    const index_t i = k % rows;
    const index_t first = k / rows;
    std::array<S, std::size_t(Block::entries)> row;
    unpack(blocks[i * in_a_row + first], row.data());
    for (index_t j = 0; j < Block::entries; ++j) {
      to[i + (first * Block::entries + j) * ld] = row[std::size_t(j)];
    }
  }
};

}  // namespace cuda_kernels

namespace detail {

// `from` in the device's memory.
template <class X>
void cuda_send(const std::shared_ptr<const cuda_context>& context, std::span<const X> from,
               cuda_matrix<X>& to) {
  const index_t count = index_t(from.size());
  to.resize(context, count, 1);
  cuda_transfer<X>(*context, view<const X>(from.data(), count, 1), to, cudaMemcpyHostToDevice);
}

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
    cuda_send(context, W.codes, codes);
    cuda_send(context, W.scales, scales);
    context->synchronize();  // from here on the caller may change the host's memory
  }

  std::size_t bytes() const {
    return std::size_t(codes.rows()) + std::size_t(scales.rows()) * sizeof(float);
  }
  // to = Wᵀ
  template <class S>
  void expand_transposed(const cuda_context& context, view<S> to) const {
    launch(context, codes.rows(),
           cuda_kernels::expand_codes<S>{entries<S>(), cols, rows * cols, to.data(), to.ld()});
  }
  // to = W
  template <class S>
  void expand(const cuda_context& context, view<S> to) const {
    using kernel = cuda_kernels::expand_codes_by_rows<S>;
    const index_t runs = (cols + kernel::run - 1) / kernel::run;
    launch(context, rows * runs, kernel{entries<S>(), rows, cols, to.data(), to.ld()});
  }

 private:
  template <class S>
  cuda_kernels::coded_entries<S> entries() const {
    return {codes.data(), scales.data(), levels, block};
  }
};

// block_matrix on the device.
template <class Block>
struct cuda_blocks {
  index_t rows, cols;
  std::string type_name;
  cuda_matrix<std::uint8_t> blocks;

  cuda_blocks(const std::shared_ptr<const cuda_context>& context, const block_matrix<Block>& W)
      : rows(W.rows), cols(W.cols), type_name(W.type_name) {
    require(cols % Block::entries == 0, "blocks of a matrix: a row is whole blocks, entries", cols,
            Block::entries);
    require(index_t(W.blocks.size()) == rows * cols / Block::entries,
            "blocks of a matrix: rows·cols / entries of a block", W.blocks.size(),
            rows * cols / Block::entries);
    const auto* const first = reinterpret_cast<const std::uint8_t*>(W.blocks.data());
    cuda_send(context, std::span(first, W.blocks.size_bytes()), blocks);
    context->synchronize();  // from here on the caller may change the host's memory
  }

  std::size_t bytes() const { return std::size_t(blocks.rows()); }
  // to = Wᵀ
  template <class S>
  void expand_transposed(const cuda_context& context, view<S> to) const {
    launch(
        context, rows * cols / Block::entries,
        cuda_kernels::expand_blocks<S, Block>{first(), cols / Block::entries, to.data(), to.ld()});
  }
  // to = W
  template <class S>
  void expand(const cuda_context& context, view<S> to) const {
    launch(context, rows * cols / Block::entries,
           cuda_kernels::expand_blocks_by_rows<S, Block>{first(), cols / Block::entries, rows,
                                                         to.data(), to.ld()});
  }

 private:
  const Block* first() const { return reinterpret_cast<const Block*>(blocks.data()); }
};

}  // namespace detail

// The buffers of a product with such a weight.
template <class S, class T>
struct cuda_product_scratch {
  cuda_matrix<S> operand;   // the other factor, rounded
  cuda_matrix<S> expanded;  // Wᵀ, if W is packed
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
  // One that is expanded for every product: detail::cuda_codes, detail::cuda_blocks.
  template <class Packed>
  explicit cuda_stored_weight(std::shared_ptr<const Packed> W)
      : rows_(W->rows),
        cols_(W->cols),
        bytes_(W->bytes()),
        type_name_(W->type_name),
        expand_(&expand_as<Packed>),
        expand_transposed_(&expand_transposed_as<Packed>),
        packed_(std::move(W)) {}

  bool empty() const { return W_ == nullptr && packed_ == nullptr; }
  index_t rows() const { return W_ ? W_->rows() : rows_; }
  index_t cols() const { return W_ ? W_->cols() : cols_; }
  std::size_t bytes() const { return W_ ? std::size_t(rows() * cols()) * sizeof(S) : bytes_; }
  std::string type_name() const { return W_ ? cuda_storage_type<S>::name : type_name_; }
  // W, if it is kept in S, else nothing.
  view<const S> entries() const { return W_ ? view<const S>(*W_) : view<const S>(); }
  // Whether values() has Wᵀ.
  bool is_transposed() const { return packed_ != nullptr; }
  // W in S, or Wᵀ in S, expanded now.
  view<const S> values(const std::shared_ptr<const cuda_context>& context,
                       cuda_matrix<S>& expanded) const {
    if (W_) {
      return *W_;
    }
    expanded.resize(context, cols_, rows_);
    expand_transposed_(packed_.get(), *context, expanded);
    return expanded;
  }
  // x = W, of a packed W: not transposed, also where x is a part of a matrix.
  void expand(const cuda_context& context, view<S> x) const { expand_(packed_.get(), context, x); }

 private:
  template <class Packed>
  static void expand_as(const void* packed, const cuda_context& context, view<S> to) {
    static_cast<const Packed*>(packed)->expand(context, to);
  }
  template <class Packed>
  static void expand_transposed_as(const void* packed, const cuda_context& context, view<S> to) {
    static_cast<const Packed*>(packed)->expand_transposed(context, to);
  }

  std::shared_ptr<const cuda_matrix<S>> W_;
  index_t rows_ = 0, cols_ = 0;
  std::size_t bytes_ = 0;
  std::string type_name_;
  using expander = void (*)(const void*, const cuda_context&, view<S>);
  expander expand_ = nullptr, expand_transposed_ = nullptr;
  std::shared_ptr<const void> packed_;
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
