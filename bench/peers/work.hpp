// What every piece of work is made of: its inputs from a safetensors file, the part that is timed, and its outputs
// to another file. A file holds row-major tensors as PyTorch writes them. A batch is [tokens, features] there and
// features × tokens in preheat, which is the same memory.
#pragma once
#if defined(PREHEAT_PEERS_BF16)
#include <preheat/cuda/mixed.hpp>
#elif defined(PREHEAT_PEERS_CUDA)
#include <preheat/cuda/backend.hpp>
#endif
#include <preheat/preheat.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <string>
#include <utility>
#include <vector>

namespace peers {

using namespace preheat;
#if defined(PREHEAT_PEERS_BF16)
using backend_type = cuda_mixed<float, cuda_bf16>;
#elif defined(PREHEAT_PEERS_CUDA)
using backend_type = cuda<float>;
#else
using backend_type = cpu<float>;
#endif
using matrix = mat<backend_type>;

class inputs {
 public:
  inputs(backend_type& be, const std::string& path) : be_(&be), file_(path) {}

  // A tensor [rows, cols], or [rows], as that matrix.
  matrix weight(const std::string& name) const {
    const auto& shape = file_.info(name).shape;
    return uploaded(shape[0], shape.size() > 1 ? shape[1] : 1, file_.column_major<float>(name));
  }
  // The same as a W that is never changed, in bf16 where activations are.
  weight_of<backend_type> frozen_weight(const std::string& name) const {
#if defined(PREHEAT_PEERS_BF16)
    return be_->store(weight(name));
#else
    return weight(name);
#endif
  }
  bool has(const std::string& name) const {
    return file_.contains(name);
  }
  // A batch [tokens, features] as features × tokens.
  matrix batch(const std::string& name) const {
    const auto& shape = file_.info(name).shape;
    require(shape.size() == 2, "a batch has two dimensions", shape.size(), 2);
    return uploaded(shape[1], shape[0], file_.values<float>(name));
  }
  index_t whole(const std::string& name) const {
    return index_t(file_.scalar(name));
  }
  float number(const std::string& name) const {
    return float(file_.scalar(name));
  }

 private:
  matrix uploaded(index_t rows, index_t cols, const std::vector<float>& values) const {
    matrix x = be_->zeros(rows, cols);
    be_->upload(values, x);
    return x;
  }

  backend_type* be_;
  safetensors::reader file_;
};

class outputs {
 public:
  explicit outputs(backend_type& be) : be_(&be) {}

  void weight(const std::string& name, const matrix& x) {
    const std::vector<float> values = be_->download(x);
    writer_.add_column_major<float>(name, x.rows(), x.cols(), values);
  }
  void batch(const std::string& name, const matrix& x) {
    const std::vector<float> values = be_->download(x);
    writer_.add<float>(name, {x.cols(), x.rows()}, values);
  }
  void number(const std::string& name, double x) { writer_.add_scalar<double>(name, x); }
  void write(const std::string& path) const { writer_.write(path); }

 private:
  backend_type* be_;
  safetensors::writer writer_;
};

struct work {
  virtual ~work() = default;
  virtual void reset() {}  // before every run, not timed
  virtual void run() = 0;
  virtual void save(outputs& to) = 0;
};

}  // namespace peers
