// How fixtures are read and compared; and tests of just that, because a comparison that cannot
// fail, or a fixture that may be missing, would make all the other tests worthless.
#include "fixtures.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <preheat/safetensors/reader.hpp>
#include <sstream>
#include <stdexcept>

#if !defined(PREHEAT_GOLDEN_DIR_DEFAULT)
#error "define PREHEAT_GOLDEN_DIR_DEFAULT: the directory of this file, as a string"
#endif

namespace golden {

namespace {

std::string directory() {
  const char* const chosen = std::getenv("PREHEAT_GOLDEN_DIR");
  const bool given = chosen != nullptr && *chosen != '\0';
  return given ? chosen : PREHEAT_GOLDEN_DIR_DEFAULT;
}

}  // namespace

std::string path_of(const std::string& name) {
  return directory() + "/" + name;
}

struct fixture::contents {
  preheat::safetensors::reader file;
  nlohmann::json params;
};

fixture::fixture(const std::string& name) : name_(name), path_(path_of(name + ".safetensors")) {
  try {
    preheat::safetensors::reader file(path_);
    nlohmann::json params = nlohmann::json::object();
    if (file.metadata().contains("params")) {
      params = nlohmann::json::parse(file.metadata().at("params"));
    }
    contents_ = std::make_unique<contents>(contents{std::move(file), std::move(params)});
  } catch (const std::exception& error) {
    fail(std::string("is missing or broken: ") + error.what());
  }
}
fixture::fixture(fixture&&) noexcept = default;
fixture::~fixture() = default;

void fixture::fail(const std::string& problem) const {
  throw std::runtime_error("golden fixture " + path_ + " " + problem);
}

bool fixture::contains(const std::string& tensor) const {
  return contents_->file.contains(tensor);
}
std::vector<std::string> fixture::names() const {
  return contents_->file.names();
}

const std::vector<index_t>& fixture::shape_of(const std::string& tensor,
                                              std::size_t least_dimensions,
                                              std::size_t most_dimensions) const {
  const std::vector<index_t>& shape = contents_->file.info(tensor).shape;
  if (shape.size() < least_dimensions || shape.size() > most_dimensions) {
    fail("has a tensor " + tensor + " of " + std::to_string(shape.size()) + " dimensions");
  }
  return shape;
}

dense fixture::matrix(const std::string& tensor) const {
  const std::vector<index_t>& shape = shape_of(tensor, 1, 2);
  const std::vector<double> values = contents_->file.column_major<double>(tensor);
  return Eigen::Map<const dense>(values.data(), shape[0], shape.size() == 2 ? shape[1] : 1);
}

dense fixture::tokens(const std::string& tensor) const {
  const std::vector<index_t>& shape = shape_of(tensor, 1, 2);
  // [tokens, features] in row-major order is features × tokens in column-major order.
  const std::vector<double> values = contents_->file.values<double>(tensor);
  return Eigen::Map<const dense>(values.data(), shape.size() == 2 ? shape[1] : 1, shape[0]);
}

dense fixture::slice(const std::string& tensor, index_t k) const {
  const std::vector<index_t>& shape = shape_of(tensor, 2, 3);
  const index_t rows = shape[1];
  const index_t cols = shape.size() == 3 ? shape[2] : 1;
  if (k >= shape[0]) {
    fail("has no entry " + std::to_string(k) + " of " + tensor);
  }
  const std::vector<double> values = contents_->file.values<double>(tensor);
  using row_major = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const row_major>(values.data() + k * rows * cols, rows, cols);
}

index_t fixture::count(const std::string& tensor) const {
  return shape_of(tensor, 1, 3)[0];
}

std::vector<double> fixture::entries(const std::string& tensor) const {
  return contents_->file.values<double>(tensor);
}
const std::vector<index_t>& fixture::shape(const std::string& tensor) const {
  return contents_->file.info(tensor).shape;
}

double fixture::scalar(const std::string& tensor) const {
  return contents_->file.scalar(tensor);
}

template <class T>
T fixture::param(const std::string& key) const {
  const nlohmann::json::json_pointer where("/" + key);
  if (!contents_->params.contains(where)) {
    fail("has no '" + key + "' in its params");
  }
  try {
    return contents_->params.at(where).get<T>();
  } catch (const nlohmann::json::exception& error) {
    fail("has a '" + key + "' in its params of another type: " + error.what());
  }
}
template double fixture::param(const std::string&) const;
template index_t fixture::param(const std::string&) const;
template bool fixture::param(const std::string&) const;
template std::string fixture::param(const std::string&) const;
template std::vector<double> fixture::param(const std::string&) const;
template std::vector<index_t> fixture::param(const std::string&) const;
template std::vector<std::string> fixture::param(const std::string&) const;

bool fixture::flag(const std::string& key) const {
  return contents_->params.contains(key) && param<bool>(key);
}

std::vector<index_t> fixture::numbers_after(const std::string& before) const {
  std::vector<index_t> found;
  for (const std::string& tensor : names()) {
    if (!tensor.starts_with(before)) {
      continue;
    }
    const std::string digits = tensor.substr(before.size());
    if (!digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos) {
      found.push_back(static_cast<index_t>(std::stoll(digits)));
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

verdict compare_within(const dense& found, const dense& expected, double bound) {
  std::ostringstream text;
  if (found.rows() != expected.rows() || found.cols() != expected.cols()) {
    text << "shape " << found.rows() << "x" << found.cols() << ", expected " << expected.rows()
         << "x" << expected.cols();
    return {false, text.str()};
  }
  double worst = 0;
  index_t row = 0;
  index_t col = 0;
  for (index_t j = 0; j < found.cols(); ++j) {
    for (index_t i = 0; i < found.rows(); ++i) {
      const double difference = std::abs(found(i, j) - expected(i, j));
      if (!std::isfinite(difference)) {
        text << "entry (" << i << ", " << j << ") is " << found(i, j) << ", expected "
             << expected(i, j);
        return {false, text.str()};
      }
      if (difference > worst) {
        worst = difference;
        row = i;
        col = j;
      }
    }
  }
  text << "max |x - y| = " << worst << " at (" << row << ", " << col << "), allowed " << bound;
  return {worst <= bound, text.str()};
}

verdict compare(const dense& found, const dense& expected, double rtol) {
  const double largest = expected.size() > 0 ? expected.cwiseAbs().maxCoeff() : 0;
  verdict result = compare_within(found, expected, rtol * largest);
  std::ostringstream text;
  text << result.text << " = " << rtol << " * max |y|";
  return {result.good, text.str()};
}

void check_within(const fixture& file, const std::string& what, const dense& found,
                  const dense& expected, double bound) {
  const verdict result = compare_within(found, expected, bound);
  CHECK_MESSAGE(result.good, file.name() << ": " << what << ": " << result.text);
}
void check_close(const fixture& file, const std::string& what, const dense& found,
                 const dense& expected, double rtol) {
  const verdict result = compare(found, expected, rtol);
  CHECK_MESSAGE(result.good, file.name() << ": " << what << ": " << result.text);
}
void check_number(const fixture& file, const std::string& what, double found, double expected,
                  double rtol) {
  check_close(file, what, dense::Constant(1, 1, found), dense::Constant(1, 1, expected), rtol);
}

preheat::scaling_rule scaling_of(const fixture& file, const std::string& alpha,
                                 const std::string& rslora) {
  const double a = file.param<double>(alpha);
  return file.flag(rslora) ? preheat::scaling::over_sqrt_rank(a) : preheat::scaling::over_rank(a);
}

}  // namespace golden

TEST_CASE("golden: a comparison sees one wrong entry") {
  using golden::compare;
  const double rtol = 1e-12;
  golden::dense y(2, 3);
  y << 1, -2, 3, 0, 0.5, -4;
  CHECK(compare(y, y, 0).good);

  golden::dense x = y;
  x(1, 0) += 3.9e-12;  // max |y| is 4
  CHECK(compare(x, y, rtol).good);
  x(1, 0) += 0.2e-12;
  CHECK_FALSE(compare(x, y, rtol).good);

  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    x(1, 0) = bad;
    CHECK_FALSE(compare(x, y, 1).good);
    CHECK_FALSE(compare(y, x, 1).good);
    CHECK_FALSE(compare(x, x, 1).good);
  }
}

TEST_CASE("golden: zeros are compared exactly and shapes must agree") {
  using golden::compare;
  using golden::dense;
  const dense zero = dense::Zero(2, 2);
  CHECK(compare(zero, zero, 1e-12).good);
  CHECK_FALSE(compare(dense::Constant(2, 2, 1e-300), zero, 1e-12).good);
  CHECK_FALSE(compare(dense::Zero(2, 3), zero, 1).good);
  CHECK_FALSE(compare(dense::Zero(4, 1), zero, 1).good);
}

TEST_CASE("golden: a missing fixture is an error that names it") {
  std::string text;
  try {
    const golden::fixture file("layers/no_such_fixture");
  } catch (const std::runtime_error& error) {
    text = error.what();
  }
  CHECK(text.find("layers/no_such_fixture.safetensors is missing") != std::string::npos);
}
