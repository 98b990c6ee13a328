// GGUF files of the gguf package: tensors of every type to the bit, metadata of every type, files that
// are to be refused, and weights that are those of the Hugging Face folder they were made from.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <preheat/files/strict_json.hpp>
#include <preheat/gguf/gguf.hpp>
#include <preheat/safetensors/tensor_files.hpp>
#include <preheat/safetensors/tensor_values.hpp>

#include "fixtures.hpp"

namespace {

namespace fs = std::filesystem;
namespace gguf = preheat::gguf;
namespace safetensors = preheat::safetensors;
using gguf::tensor_type;
using golden::index_t;

nlohmann::json json_of(const std::string& name) {
  std::ifstream file(golden::path_of(name));
  REQUIRE_MESSAGE(file.good(), name << " is missing");
  return nlohmann::json::parse(file);
}

// The files of a folder that end in .gguf, sorted.
std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(golden::path_of(folder))) {
    if (entry.path().extension() == ".gguf") {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

// The words of a number in the fixture's JSON.
template <class T>
T number_of(const std::string& text) {
  if constexpr (std::floating_point<T>) {
    return T(std::strtod(text.c_str(), nullptr));
  } else if constexpr (std::same_as<T, bool>) {
    return text == "true";
  } else if constexpr (std::signed_integral<T>) {
    return T(std::strtoll(text.c_str(), nullptr, 10));
  } else {
    return T(std::strtoull(text.c_str(), nullptr, 10));
  }
}

// A string as the fixture shows it: what is not UTF-8 replaced.
std::string shown(std::string_view bytes) {
  const nlohmann::json text = std::string(bytes);
  return nlohmann::json::parse(text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
      .get<std::string>();
}

// Whether the value of the type T is the one expected, numbers to the bit.
template <class T>
bool is_number(const gguf::metadata_value& value, const nlohmann::json& expected) {
  if (value.type == gguf::value_type::ARRAY) {
    const auto items = gguf::value_as<std::vector<T>>(value);
    bool same = items && items->size() == expected.size();
    for (std::size_t i = 0; same && i < expected.size(); ++i) {
      const T one = (*items)[i];
      const T other = number_of<T>(expected[i].get<std::string>());
      same = std::memcmp(&one, &other, sizeof one) == 0;
    }
    return same;
  }
  const auto one = gguf::value_as<T>(value);
  const T other = number_of<T>(expected.get<std::string>());
  return one && std::memcmp(&*one, &other, sizeof other) == 0;
}

bool is_text(const gguf::metadata_value& value, const nlohmann::json& expected) {
  if (value.type != gguf::value_type::ARRAY) {
    const auto text = gguf::value_as<std::string_view>(value);
    return text && shown(*text) == expected.get<std::string>();
  }
  const auto texts = gguf::value_as<std::vector<std::string>>(value);
  bool same = texts && texts->size() == expected.size();
  for (std::size_t i = 0; same && i < expected.size(); ++i) {
    same = shown((*texts)[i]) == expected[i].get<std::string>();
  }
  return same;
}

// Arrays of arrays: items are numbers or texts, each array of its own type.
bool is_nested(const gguf::metadata_value& value, const nlohmann::json& expected) {
  const auto items = gguf::items_of(value);
  bool same = items && items->size() == expected.size();
  for (std::size_t i = 0; same && i < expected.size(); ++i) {
    const gguf::metadata_value& item = (*items)[i];
    same = is_number<std::int64_t>(item, expected[i]) || is_text(item, expected[i]);
  }
  return same;
}

bool is_as_expected(const gguf::metadata_value& value, const nlohmann::json& expected) {
  const std::string type = expected.at("type");
  const bool array = type == "ARRAY";
  const std::string item = array ? expected.at("item_type").get<std::string>() : type;
  if (type != gguf::name_of(value.type) ||
      (array && gguf::type_text(value) !=
                    "an array of " + std::to_string(expected.at("value").size()) + " " + item)) {
    return false;
  }
  const nlohmann::json& v = expected.at("value");
  if (item == "UINT8")
    return is_number<std::uint8_t>(value, v);
  if (item == "INT8")
    return is_number<std::int8_t>(value, v);
  if (item == "UINT16")
    return is_number<std::uint16_t>(value, v);
  if (item == "INT16")
    return is_number<std::int16_t>(value, v);
  if (item == "UINT32")
    return is_number<std::uint32_t>(value, v);
  if (item == "INT32")
    return is_number<std::int32_t>(value, v);
  if (item == "UINT64")
    return is_number<std::uint64_t>(value, v);
  if (item == "INT64")
    return is_number<std::int64_t>(value, v);
  if (item == "FLOAT32")
    return is_number<float>(value, v);
  if (item == "FLOAT64")
    return is_number<double>(value, v);
  if (item == "BOOL")
    return is_number<bool>(value, v);
  return item == "ARRAY" ? is_nested(value, v) : is_text(value, v);
}

}  // namespace

TEST_CASE("golden gguf: tensors of every type, to the bit") {
  const gguf::reader file(golden::path_of("gguf/types.gguf"));
  const safetensors::reader expected(golden::path_of("gguf/types.safetensors"));
  const auto params = nlohmann::json::parse(expected.metadata().at("params"));
  CHECK(file.alignment() == params.at("alignment").get<std::size_t>());
  const auto& types = params.at("types");
  CHECK(file.tensors().size() == types.size());
  std::map<std::string, int> seen;
  for (const auto& item : types.items()) {
    const std::string& name = item.key();
    const auto& type = item.value();
    CAPTURE(name);
    const gguf::tensor_info& tensor = file.info(name);
    CHECK(gguf::name_of(tensor.type) == type.get<std::string>());
    CHECK(tensor.shape == expected.info(name).shape);
    CHECK(same_bits(file.values<float>(name), expected.values<float>(name)));
    ++seen[type.get<std::string>()];

    // The same numbers as a matrix of double, turned over.
    if (tensor.shape.size() == 2) {
      std::vector<double> turned(std::size_t(tensor.count()));
      gguf::read_matrix<double>(
          name, tensor, preheat::view<double>(turned.data(), tensor.shape[0], tensor.shape[1]));
      const std::vector<double> wanted = expected.column_major<double>(name);
      CHECK(std::memcmp(turned.data(), wanted.data(), wanted.size() * sizeof(double)) == 0);
    }
  }
  CHECK(seen.size() == 11);
}

TEST_CASE("golden gguf: Q8_0 is packed to the package's bytes") {
  const gguf::reader file(golden::path_of("gguf/types.gguf"));
  const safetensors::reader sources(golden::path_of("gguf/types.safetensors"));
  int packed = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const std::string source = name.substr(0, name.rfind('.')) + ".source";
    if (tensor.type != tensor_type::Q8_0 || !name.ends_with(".matrix")) {
      continue;
    }
    const std::vector<float> values = sources.values<float>(source);
    const std::vector<std::byte> bytes =
        gguf::packed<float>(name, tensor.type, values, tensor.cols());
    CHECK(bytes.size() == tensor.bytes.size());
    CHECK(std::equal(bytes.begin(), bytes.end(), tensor.bytes.begin(), tensor.bytes.end()));
    ++packed;
  }
  CHECK(packed > 0);
}

TEST_CASE("golden gguf: metadata of every type") {
  const nlohmann::json expected_files = json_of("gguf/metadata.json");
  for (const auto& item : expected_files.items()) {
    const std::string& name = item.key();
    const auto& values = item.value();
    CAPTURE(name);
    const gguf::reader file(golden::path_of("gguf/" + name));
    for (const nlohmann::json& expected : values) {
      const std::string key = expected.at("key");
      CAPTURE(key);
      const auto found = file.metadata().find(key);
      REQUIRE(found != file.metadata().end());
      CHECK(is_as_expected(found->second, expected));
    }
    CHECK(file.metadata().size() <= values.size() + 1);  // and general.architecture
    const std::vector<float> t = file.values<float>("t");
    CHECK(t.size() >= 3);
    for (std::size_t i = 0; i < t.size(); ++i) {
      CHECK(t[i] == float(i + 1));
    }
  }
}

TEST_CASE("golden gguf: damaged files are refused by name") {
  const nlohmann::json index = json_of("gguf/bad/index.json");
  int refused = 0;
  for (const fs::path& path : files_in("gguf/bad")) {
    CAPTURE(path);
    const auto entry = std::find_if(index.begin(), index.end(), [&](const nlohmann::json& one) {
      return one.at("file") == path.filename().string();
    });
    REQUIRE(entry != index.end());
    std::string error;
    try {
      const gguf::reader file(path);
      for (const auto& [name, tensor] : file.tensors()) {
        CHECK(index_t(file.values<float>(name).size()) == tensor.count());
      }
    } catch (const preheat::io_error& e) {
      error = e.what();
      CHECK(error.find(path.filename().string()) != std::string::npos);
    }
    const std::string expect = entry->at("expect");
    if (expect != "either") {
      CHECK_MESSAGE(error.empty() == (expect == "ok"), entry->at("says") << ": " << error);
    }
    refused += !error.empty();
  }
  CHECK(refused >= 40);
}
