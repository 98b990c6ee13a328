// The frozen weights of a network that is already in memory, kept in a smaller type from now on: any
// network, an encoder or an MLP as well as a decoder.
//
//   nn::bert<Be> net(be, huggingface::read_bert(be, "all-MiniLM-L6-v2"));
//   storage::store_weights(net, weight_storage::nf4);   // QLoRA
//
// Errors: invalid_argument: as_stored, which only a file has; a type that the backend does not keep; an
// entry that is not finite. Cost: every W goes through the host once, but for bf16 on a device.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/network.hpp"
#include "keep.hpp"

namespace preheat::storage {

// A column-major matrix on the host, by rows of floats.
template <class T>
class host_rows {
 public:
  // `values` without gaps.
  host_rows(std::vector<T> values, index_t rows, index_t cols)
      : values_(std::move(values)), rows_(rows), cols_(cols) {}

  index_t rows() const { return rows_; }
  index_t cols() const { return cols_; }
  std::size_t bytes() const { return values_.size() * sizeof(T); }
  std::string type_name() const { return sizeof(T) == 4 ? "F32" : "F64"; }
  void unpack(index_t row, index_t begin, index_t end, float* to) const {
    for (index_t j = begin; j < end; ++j) {
      to[j - begin] = float(values_[std::size_t(row + j * rows_)]);
    }
  }

 private:
  std::vector<T> values_;
  index_t rows_, cols_;
};

// Layers that are stored already stay as they are; with `dense` nothing changes.
template <network Net>
void store_weights(Net& net, weight_storage keep) {
  using Be = typename Net::backend_type;
  using T = scalar_of<Be>;
  require(keep != weight_storage::as_stored,
          "store_weights: as_stored is for a file that is read; bf16 and nf4 are for matrices");
  require_keeps<Be>(keep);
  if constexpr (weight_storing_backend<Be>) {
    Be& be = net.backend();
    for (base_layer<Be>& layer : net.layers()) {
      mat<Be>& W = layer.W;
      if (keep == weight_storage::dense || layer.W.is_stored()) {
        continue;
      }
      layer.W = kept_by<Be>(
          be, keep, [&] { return std::move(W); },
          [&](weight_storage type) {
            const stored_matrix rows(
                std::make_shared<const host_rows<T>>(be.download(W), W.rows(), W.cols()));
            return kept_as(type, rows);
          },
          [](auto&) { return weight_of<Be>(); });  // refused above
    }
  }
}

}  // namespace preheat::storage
