// Small adapters and bases for tests of the commands: tensors by name, and what comes out.
#pragma once
#include <doctest/doctest.h>

#include <Eigen/Dense>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <preheat/core/error.hpp>
#include <preheat/core/random.hpp>
#include <preheat/peft/reader.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/adapter/commands.hpp"
#include "support/scratch.hpp"

namespace cases {

namespace fs = std::filesystem;
namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;
using json = nlohmann::ordered_json;
using preheat::index_t;
using safetensors::dtype;
using matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Entries N(0, 1) that F32 holds.
inline matrix random(index_t rows, index_t cols, std::uint64_t seed) {
  const preheat::generator gen(seed);
  matrix M(rows, cols);
  for (index_t i = 0; i < M.size(); ++i) {
    M.data()[i] = float(gen.normals(std::uint64_t(i))[0]);
  }
  return M;
}

struct tensor {
  tensor(const matrix& M) : values(M), shape{M.rows(), M.cols()} {}
  tensor(const matrix& M, dtype as) : values(M), shape{M.rows(), M.cols()}, type(as) {}
  tensor(const matrix& M, std::vector<index_t> extents, dtype as = dtype::F32)
      : values(M), shape(std::move(extents)), type(as) {}
  matrix values;
  std::vector<index_t> shape;
  dtype type = dtype::F32;
};
using tensors = std::map<std::string, tensor>;

inline tensor number(double value, dtype type = dtype::F32) {
  return {matrix::Constant(1, 1, value), {}, type};
}

inline fs::path save(const fs::path& path, const tensors& all,
                     const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  if (path.has_parent_path()) {
    fs::create_directories(path.parent_path());
  }
  safetensors::writer writer;
  for (const auto& [name, t] : all) {
    if (safetensors::size_of(t.type) == 1) {  // codes
      std::vector<std::byte> bytes;
      for (index_t i = 0; i < t.values.size(); ++i) {
        bytes.push_back(std::byte(int(t.values.data()[i])));
      }
      writer.add_bytes(name, t.shape, t.type, bytes);
      continue;
    }
    writer.add<double>(name, t.shape, {t.values.data(), std::size_t(t.values.size())}, t.type);
  }
  for (const auto& [key, text] : metadata) {
    writer.metadata(key, text);
  }
  writer.write(path);
  return path;
}

// A PEFT folder; `fields` beside r 4, lora_alpha 8.
inline fs::path folder(const fs::path& path, json fields, const tensors& all) {
  json config = {
      {"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 8}, {"target_modules", {"q_proj"}}};
  if (!fields.is_null()) {
    config.update(fields);
  }
  fs::create_directories(path);
  scratch::write_file(path / "adapter_config.json", config.dump());
  save(path / "adapter_model.safetensors", all);
  return path;
}

inline const std::string prefix = "base_model.model.";

// The factors of a module out×in of rank 4 under PEFT's names, added to `all`.
inline std::pair<matrix, matrix> add_lora(tensors& all, const std::string& module, index_t out,
                                          index_t in, std::uint64_t seed, index_t rank = 4) {
  const matrix A = random(rank, in, seed);
  const matrix B = random(out, rank, seed + 1000);
  all.insert_or_assign(prefix + module + ".lora_A.weight", A);
  all.insert_or_assign(prefix + module + ".lora_B.weight", B);
  return {A, B};
}

inline matrix read(const safetensors::tensor_files& files, const std::string& name) {
  const safetensors::tensor_info& info = files.info(name);
  const index_t rows = info.shape.empty() ? 1 : info.shape[0];
  matrix M(rows, info.count() / rows);
  safetensors::read_rows<double>(name, info, 0,
                                 preheat::view<double>(M.data(), M.cols(), M.rows()));
  return M;
}
inline matrix read(const fs::path& file, const std::string& name) {
  return read(safetensors::tensor_files(file), name);
}

// s·B·A of a module.
inline matrix delta(const peft::reader& adapter, const std::string& module) {
  const peft::adapter_layer* const l = adapter.find(module);
  REQUIRE(l != nullptr);
  const matrix A = read(adapter.files(), l->A);
  const matrix B = read(adapter.files(), l->B);
  return l->scaling * B * A;
}

inline double distance(const matrix& a, const matrix& b) {
  return (a - b).norm() / std::max(b.norm(), 1e-300);
}

// The error of what refuses its input; "none" if it does not.
template <class Run>
std::string error_of(const Run& run) {
  try {
    run();
  } catch (const preheat::invalid_argument& error) {
    return error.what();
  } catch (const preheat::io_error& error) {
    return error.what();
  }
  return "none";
}

// Options with what `set` sets.
template <class Options, class Set>
Options with(const Set& set) {
  Options o;
  set(o);
  return o;
}

inline fs::path merged(const fs::path& adapter, const fs::path& base, const fs::path& out,
                       apps::adapter::merge_options o = {}) {
  o.adapters = {adapter};
  o.base = base;
  o.out = out;
  apps::adapter::merge(o);
  return out;
}

inline fs::path reduced(const std::vector<fs::path>& adapters, const fs::path& out, index_t rank,
                        apps::adapter::reduce_options o = {}) {
  o.adapters = adapters;
  o.out = out;
  o.rank = rank;
  apps::adapter::reduce(o);
  return out;
}

}  // namespace cases
