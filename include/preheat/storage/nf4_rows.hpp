// A matrix in NF4, the 4-bit NormalFloat of QLoRA ("QLoRA: Efficient Finetuning of Quantized LLMs",
// arXiv 2305.14314), with the paper's double quantization of the scales, or without.
//
// The entries are taken row by row and cut into blocks of 64, also across the ends of rows; the last
// block may be short. In a block,
//
//   x ≈ c·level(q),  q = the nearest of linalg::nf4_levels to x/c,  c = the block's largest |x|
//
// so |x − c·level(q)| <= 0.152·c (half of the widest gap between levels, −1 … −0.696). c is a float, or
// doubly quantized: with μ the mean of all c, blocks of 256 of the c − μ have their largest |c − μ| as a
// float scale d, and
//
//   c ≈ d·code(p) + μ,  p = the nearest number of the dynamic code (dynamic_code.hpp) to (c − μ)/d
//
// Memory, bits an entry: 4 + 32/64 = 4.5, or 4 + 8/64 + 32/(64·256) = 4.127.
// The first of two entries is in a byte's upper half, as bitsandbytes packs them.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "../core/coded_matrix.hpp"
#include "../core/stored_matrix.hpp"
#include "../linalg/nf4.hpp"
#include "dynamic_code.hpp"

namespace preheat::storage {

enum class scale_kind { floats, doubly_quantized };

class nf4_rows {
 public:
  static constexpr index_t block = 64;
  static constexpr index_t scales_block = 256;

  // Errors: invalid_argument for an entry that is not finite. Cost: O(m·n).
  explicit nf4_rows(const stored_matrix& W, scale_kind scales = scale_kind::doubly_quantized)
      : rows_(W.rows()), cols_(W.cols()), codes_(std::size_t((W.rows() * W.cols() + 1) / 2)) {
    std::vector<float> row(static_cast<std::size_t>(cols_));
    std::array<float, block> entries{};
    index_t filled = 0;
    index_t first = 0;  // entry of `entries`
    const auto finish = [&] {
      add_block(first, entries.data(), filled);
      first += filled;
      filled = 0;
    };
    for (index_t i = 0; i < rows_; ++i) {
      W.unpack(i, 0, cols_, row.data());
      for (const float x : row) {
        require(std::isfinite(x), "nf4: entries are finite");
        entries[std::size_t(filled++)] = x;
        if (filled == block) {
          finish();
        }
      }
    }
    if (filled > 0) {
      finish();
    }
    if (scales == scale_kind::doubly_quantized) {
      quantize_scales();
    }
  }

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::size_t bytes() const {
    return codes_.size() + (scales_.size() + scales_of_scales_.size()) * sizeof(float) +
           scale_codes_.size() + (scale_codes_.empty() ? 0 : sizeof mean_);
  }
  std::string type_name() const { return "NF4"; }

  // c of a block.
  float scale(index_t b) const {
    return scale_codes_.empty() ? scales_[std::size_t(b)]
                                : scales_of_scales_[std::size_t(b / scales_block)] *
                                          dynamic_code[scale_codes_[std::size_t(b)]] +
                                      mean_;
  }
  // The level's number of entry k, counted row by row.
  int code(index_t k) const {
    const std::uint8_t pair = codes_[std::size_t(k / 2)];
    return k % 2 == 0 ? pair >> 4 : pair & 0xF;
  }

  // For a device. The scales are unpacked into `room`, which the result refers to, as it does to this.
  coded_matrix coded(std::vector<float>& room) const {
    room.clear();
    for (index_t b = 0; b * block < rows_ * cols_; ++b) {
      room.push_back(scale(b));
    }
    coded_matrix W{rows_, cols_, block, codes_, room, {}, type_name()};
    std::copy(std::begin(linalg::nf4_levels), std::end(linalg::nf4_levels), W.levels.begin());
    return W;
  }

  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    index_t k = row * cols_ + begin;
    const index_t last = row * cols_ + end;
    while (k < last) {
      const index_t stop = std::min(last, (k / block + 1) * block);
      const float c = scale(k / block);
      std::array<float, 16> values;
      for (std::size_t q = 0; q < 16; ++q) {
        values[q] = float(linalg::nf4_levels[q]) * c;
      }
      if (k % 2 != 0) {
        *to++ = values[std::size_t(code(k++))];
      }
      for (; k + 1 < stop; k += 2) {
        const std::uint8_t pair = codes_[std::size_t(k / 2)];
        *to++ = values[pair >> 4];
        *to++ = values[pair & 0xF];
      }
      if (k < stop) {
        *to++ = values[std::size_t(code(k++))];
      }
    }
  }

 private:
  void add_block(index_t first, const float* x, index_t count) {
    float c = 0;
    for (index_t i = 0; i < count; ++i) {
      c = std::max(c, std::abs(x[i]));
    }
    scales_.push_back(c);
    for (index_t i = 0; i < count; ++i) {
      const std::uint8_t q = nearest(c == 0 ? 0.0F : x[i] / c);
      const index_t k = first + i;
      codes_[std::size_t(k / 2)] |= std::uint8_t(k % 2 == 0 ? q << 4 : q);
    }
  }
  // By bisection; halfway goes to the lower level.
  static std::uint8_t nearest(float z) {
    std::size_t q = 0;
    for (std::size_t step = 8; step > 0; step /= 2) {
      if (double(z) > (linalg::nf4_levels[q + step - 1] + linalg::nf4_levels[q + step]) / 2) {
        q += step;
      }
    }
    return std::uint8_t(q);
  }
  void quantize_scales() {
    double sum = 0;
    for (const float c : scales_) {
      sum += double(c);
    }
    mean_ = scales_.empty() ? 0.0F : float(sum / double(scales_.size()));
    for (std::size_t first = 0; first < scales_.size(); first += scales_block) {
      const std::size_t end = std::min(first + std::size_t(scales_block), scales_.size());
      float d = 0;
      for (std::size_t b = first; b < end; ++b) {
        d = std::max(d, std::abs(scales_[b] - mean_));
      }
      scales_of_scales_.push_back(d);
      for (std::size_t b = first; b < end; ++b) {
        scale_codes_.push_back(nearest_dynamic_code(d == 0 ? 0.0F : (scales_[b] - mean_) / d));
      }
    }
    scales_ = {};
  }

  index_t rows_, cols_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> scales_;              // c of every block, or
  std::vector<std::uint8_t> scale_codes_;  // p of every block,
  std::vector<float> scales_of_scales_;    // d of every 256 of them,
  float mean_ = 0;                         // and μ
};

}  // namespace preheat::storage
