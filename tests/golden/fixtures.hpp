// Golden fixtures: what another implementation computed, to be compared with what we compute.
// README.md says who computed them.
//
// A fixture is a safetensors file; its metadata "params" is a JSON object with every setting that
// it was computed with (none in an adapter that PEFT saved: adapter_config.json has them). Tests
// take shapes and settings from the file and from nowhere else, so that any directory of the same
// layout can be put to the same tests: PREHEAT_GOLDEN_DIR=DIR.
#pragma once
#include <doctest/doctest.h>

#include <Eigen/Core>
#include <memory>
#include <preheat/core/types.hpp>
#include <preheat/train/scaling.hpp>
#include <string>
#include <vector>

namespace golden {

using preheat::index_t;
using dense = Eigen::MatrixXd;

// The path of a file in the directory of the fixtures.
std::string path_of(const std::string& name);

// One file, read as doubles. Whatever is missing, the file itself included, throws, and so fails
// the test with the name of the file.
class fixture {
 public:
  // "layers/plain" is layers/plain.safetensors in the directory of the fixtures: the environment's
  // PREHEAT_GOLDEN_DIR, else the one built in.
  explicit fixture(const std::string& name);
  fixture(fixture&&) noexcept;
  ~fixture();

  const std::string& name() const { return name_; }
  bool contains(const std::string& tensor) const;
  std::vector<std::string> names() const;

  // [rows, cols], or [n] as a column n×1.
  dense matrix(const std::string& tensor) const;
  // [tokens, features] as features × tokens, one column per token; [tokens] as 1 × tokens.
  dense tokens(const std::string& tensor) const;
  // Entry k along the first dimension: a matrix of [count, rows, cols], a column of [count, n].
  dense slice(const std::string& tensor, index_t k) const;
  // The number of entries along the first dimension.
  index_t count(const std::string& tensor) const;
  // Every entry in row-major order, and the shape, for any number of dimensions.
  std::vector<double> entries(const std::string& tensor) const;
  const std::vector<index_t>& shape(const std::string& tensor) const;
  // The only entry.
  double scalar(const std::string& tensor) const;

  // A setting: "lr", or "unique/3" for key 3 of the object unique. T is double, index_t, bool,
  // std::string or a vector of double, index_t or std::string.
  template <class T>
  T param(const std::string& key) const;
  // The same for a bool, false if there is no such key.
  bool flag(const std::string& key) const;

  // The numbers k, ascending, for which there is a tensor called before + k.
  std::vector<index_t> numbers_after(const std::string& before) const;

  // Throws, naming the file.
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  struct contents;
  const std::vector<index_t>& shape_of(const std::string& tensor, std::size_t least_dimensions,
                                       std::size_t most_dimensions) const;

  std::string name_;
  std::string path_;
  std::unique_ptr<const contents> contents_;
};

// A matrix or view of any backend as an Eigen matrix of doubles.
template <class Be, class M>
dense host(Be& be, const M& matrix) {
  using scalar = typename Be::scalar;
  const preheat::view<const scalar> v = matrix;
  const std::vector<scalar> values = be.download(v);
  using column_major = Eigen::Matrix<scalar, Eigen::Dynamic, Eigen::Dynamic>;
  return Eigen::Map<const column_major>(values.data(), v.rows(), v.cols()).template cast<double>();
}

// The result of a comparison, with the words for it.
struct verdict {
  bool good = false;
  std::string text;
};

// Whether shapes agree and no entry of `found` is further from `expected` than `bound`. NaN and
// infinity are close to nothing.
verdict compare_within(const dense& found, const dense& expected, double bound);

// The measure of the fixtures: max |x − y| <= rtol · max |y|, so exact where y is all zero.
verdict compare(const dense& found, const dense& expected, double rtol);

// Fail the test, naming the file and `what`, unless `found` is as close to `expected` as that.
void check_within(const fixture& file, const std::string& what, const dense& found,
                  const dense& expected, double bound);
void check_close(const fixture& file, const std::string& what, const dense& found,
                 const dense& expected, double rtol);
void check_number(const fixture& file, const std::string& what, double found, double expected,
                  double rtol);

// The scaling rule of a recorded adapter, by its settings alpha and use_rslora.
preheat::scaling_rule scaling_of(const fixture& file, const std::string& alpha = "alpha",
                                 const std::string& rslora = "use_rslora");

}  // namespace golden

// The test case "golden FOLDER: NAME": a check of the fixture FOLDER/NAME.
#define PREHEAT_GOLDEN(FOLDER, NAME, CHECK_FIXTURE)  \
  TEST_CASE("golden " FOLDER ": " NAME) {            \
    CHECK_FIXTURE(golden::fixture(FOLDER "/" NAME)); \
  }
