// The tensors of a model in a folder: model.safetensors, or its shards.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../core/concepts.hpp"
#include "../safetensors/tensor_files.hpp"
#include "../safetensors/tensor_rows.hpp"
#include "../safetensors/tensor_values.hpp"
#include "../storage/keep.hpp"

namespace preheat::huggingface {

// Reads tensors one by one; `finish` refuses tensors that were not read. F64, F32, F16 and BF16 are
// converted to the backend's scalar. Errors: io_error, naming the file and the tensor with its shapes:
// it is missing, has another shape, is not floating-point, or has an entry that is not finite.
template <backend Be>
class checkpoint {
 public:
  using T = scalar_of<Be>;

  // Names may begin with `prefix` or not. `model` says whose tensors they are: "a BERT encoder".
  checkpoint(Be& be, const std::filesystem::path& folder, std::string prefix, std::string model)
      : be_(be),
        owner_(std::make_shared<const safetensors::tensor_files>(folder, "model")),
        files_(*owner_),
        prefix_(std::move(prefix)),
        model_(std::move(model)) {
    for (const auto& entry : files_.tensors()) {
      std::string name = entry.first;
      if (name.starts_with(prefix_)) {
        name.erase(0, prefix_.size());
      }
      const auto [place, added] = stored_.emplace(name, entry.first);
      if (!added) {
        fail(entry.first, "it means the same as " + files::in_quotes(place->second));
      }
    }
  }

  Be& backend() const { return be_; }
  bool contains(const std::string& name) const { return stored_.contains(name); }

  // The number of outputs of a tensor of two dimensions.
  index_t rows(const std::string& name) {
    const safetensors::tensor_info& tensor = files_.info(stored(name));
    return tensor.shape.empty() ? 0 : tensor.shape[0];
  }
  // [rows, cols] as rows × cols.
  mat<Be> matrix(const std::string& name, index_t rows, index_t cols) {
    const mat<Be> columns = table(name, rows, cols);  // first: it checks the shape
    mat<Be> M = be_.zeros(rows, cols);
    be_.copy(transpose::yes, columns, M);
    return M;
  }
  // [rows, cols] as a stored matrix; it keeps the files open if it is kept as they have it.
  stored_matrix stored_rows(const std::string& name, index_t rows, index_t cols,
                            weight_storage keep) {
    const std::string& in_file = checked(name, {rows, cols});
    if (files_.info(in_file).type == safetensors::dtype::F64) {
      fail(in_file, "F64 is read with weight_storage::dense only: stored matrices are of floats");
    }
    const stored_matrix W(std::make_shared<const safetensors::tensor_rows>(owner_, in_file));
    if (!storage::all_finite(W)) {
      fail(in_file, "it has a NaN or infinite entry");
    }
    taken_.insert(name);
    if (keep == weight_storage::as_stored) {
      return W;
    }
    const stored_matrix kept = storage::kept_as(keep, W);
    files_.release(in_file);
    return kept;
  }
  // [rows, cols] as a device keeps what the files have.
  weight_of<Be> as_it_is(Be& device, const std::string& name, index_t rows, index_t cols) {
    mat<Be> W = matrix(name, rows, cols);
    const safetensors::dtype type = files_.info(stored(name)).type;
    if (type == safetensors::dtype::F16 || type == safetensors::dtype::BF16) {
      return device.store(W);
    }
    return weight_of<Be>(std::move(W));
  }
  // [entries, size] as size × entries, one column per entry.
  mat<Be> table(const std::string& name, index_t entries, index_t size) {
    return read(name, {entries, size}, size, entries);
  }
  // [size] as size×1.
  mat<Be> vector(const std::string& name, index_t size) { return read(name, {size}, size, 1); }

  base_layer<Be> linear(const std::string& name, index_t rows, index_t cols) {
    return {name, matrix(name + ".weight", rows, cols), vector(name + ".bias", rows)};
  }

  // Refuses a tensor that was not read and that passed_over(name) does not excuse.
  template <class PassedOver>
  void finish(PassedOver passed_over) const {
    for (const auto& [name, in_file] : stored_) {
      if (!taken_.contains(name) && !passed_over(name)) {
        fail(in_file, model_ + " of this config has no such tensor");
      }
    }
  }

  [[noreturn]] void fail(const std::string& tensor, const std::string& problem) const {
    throw io_error(files_.source().string() + ": tensor " + files::in_quotes(tensor) + ": " +
                   problem);
  }

 private:
  const std::string& stored(const std::string& name) const {
    const auto found = stored_.find(name);
    if (found == stored_.end()) {
      fail(name, "it is missing (with and without the prefix " + files::in_quotes(prefix_) + ")");
    }
    return found->second;
  }
  // The name in the file of a floating-point tensor of this shape.
  const std::string& checked(const std::string& name, const std::vector<index_t>& shape) {
    const std::string& in_file = stored(name);
    const safetensors::tensor_info& tensor = files_.info(in_file);
    if (tensor.shape != shape) {
      fail(in_file, "its shape is " + safetensors::shape_text(tensor.shape) +
                        ", the config requires " + safetensors::shape_text(shape));
    }
    if (!safetensors::is_floating(tensor.type)) {
      fail(in_file, "it is stored as " + std::string(safetensors::name_of(tensor.type)) +
                        "; F64, F32, F16 and BF16 are understood");
    }
    return in_file;
  }
  mat<Be> read(const std::string& name, const std::vector<index_t>& shape, index_t rows,
               index_t cols) {
    const std::string& in_file = checked(name, shape);
    const safetensors::tensor_info& tensor = files_.info(in_file);
    std::vector<T> host(static_cast<std::size_t>(tensor.count()));
    safetensors::read_rows<T>(in_file, tensor, 0, view<T>(host.data(), rows, cols));
    files_.release(in_file);
    if (!std::all_of(host.begin(), host.end(), [](T x) { return std::isfinite(x); })) {
      fail(in_file, "it has a NaN or infinite entry");
    }
    mat<Be> M = be_.zeros(rows, cols);
    be_.upload(host, M);
    taken_.insert(name);
    return M;
  }

  Be& be_;
  std::shared_ptr<const safetensors::tensor_files> owner_;
  const safetensors::tensor_files& files_;
  std::string prefix_;
  std::string model_;
  std::map<std::string, std::string> stored_;  // the name without prefix -> in the file
  std::set<std::string> taken_;
};

}  // namespace preheat::huggingface
