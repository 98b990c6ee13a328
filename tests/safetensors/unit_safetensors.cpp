// Safetensors files: what is written is read back, hostile files are refused with one clear error,
// and a failed write leaves nothing behind.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <preheat/safetensors/checkpoint.hpp>
#include <preheat/safetensors/safetensors.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
namespace files = preheat::files;
namespace safetensors = preheat::safetensors;
using preheat::index_t;
using safetensors::dtype;
using scratch::read_file;
using scratch::temporary_directory;
using scratch::write_file;

// The 8 bytes of a header's length.
std::string length_prefix(std::uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

// A file with that header and that data, whatever they are worth.
std::string file_of(std::string_view header, std::string_view data = "") {
  return length_prefix(header.size()) + std::string(header) + std::string(data);
}

// The entry of one tensor in a header.
std::string entry(const std::string& name, const std::string& type, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The message of the Error that `action` throws; "" if it throws none, another error passes on.
template <class Error>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(std::string_view text, std::string_view parameter) {
  return text.find(parameter) != std::string_view::npos;
}

// Reads a file from memory that is exactly as long as the file, so that a sanitizer sees a read
// beyond its end.
safetensors::file_header parse(std::string_view bytes) {
  const std::span<const std::byte> source = std::as_bytes(std::span(bytes));
  const std::vector<std::byte> memory(source.begin(), source.end());
  return safetensors::parse_header(memory, "memory");
}

}  // namespace

TEST_CASE_TEMPLATE("values of the widest types come back as they were", T, double, float,
                   std::int64_t, std::uint64_t) {
  using limits = std::numeric_limits<T>;
  std::vector<T> values = {limits::lowest(), T{0}, T{1}, T{100}, limits::max(), limits::min()};
  if constexpr (std::floating_point<T>) {
    values[1] = -limits::infinity();
    values[2] = limits::denorm_min();
    values[3] = -T{0};
  }
  const temporary_directory directory;
  const fs::path path = directory / "values.safetensors";
  safetensors::writer writer;
  writer.add<T>("x", {2, 3}, values);
  writer.write(path);

  const safetensors::reader file(path);
  CHECK(file.info("x").type == safetensors::dtype_of<T>());
  CHECK(file.info("x").shape == std::vector<index_t>{2, 3});
  CHECK(file.info("x").count() == 6);
  CHECK(file.values<T>("x") == values);
  const std::span<const T> view = file.view<T>("x");
  CHECK(std::equal(view.begin(), view.end(), values.begin(), values.end()));
  CHECK(static_cast<const void*>(view.data()) == file.info("x").bytes.data());  // not a copy
  const std::vector<T> turned = {values[0], values[3], values[1], values[4], values[2], values[5]};
  CHECK(file.column_major<T>("x") == turned);
}

TEST_CASE("integers of every dtype come back as they were, to the ends of their range") {
  struct range {
    dtype type;
    std::int64_t lowest;
    std::int64_t highest;
  };
  const std::vector<range> ranges = {
      {dtype::BOOL, 0, 1},
      {dtype::U8, 0, 255},
      {dtype::I8, -128, 127},
      {dtype::I16, -32768, 32767},
      {dtype::U16, 0, 65535},
      {dtype::I32, -2147483648, 2147483647},
      {dtype::U32, 0, 4294967295},
      {dtype::I64, std::numeric_limits<std::int64_t>::min(),
       std::numeric_limits<std::int64_t>::max()},
      {dtype::U64, 0, std::numeric_limits<std::int64_t>::max()},
  };
  const temporary_directory directory;
  const fs::path path = directory / "integers.safetensors";
  safetensors::writer writer;
  for (const range& r : ranges) {
    const std::array ends = {r.lowest, r.highest};
    writer.add<std::int64_t>(std::string(safetensors::name_of(r.type)), {2}, ends, r.type);
  }
  writer.write(path);
  const safetensors::reader file(path);
  for (const range& r : ranges) {
    const std::string_view name = safetensors::name_of(r.type);
    CAPTURE(name);
    CHECK(file.info(name).type == r.type);
    CHECK(file.values<std::int64_t>(name) == std::vector<std::int64_t>{r.lowest, r.highest});
  }
  CHECK(file.view<std::uint8_t>("U8")[1] == 255);
  CHECK(file.view<std::int8_t>("I8")[0] == -128);
  CHECK(file.view<std::int16_t>("I16")[0] == -32768);
  CHECK(file.view<std::uint16_t>("U16")[1] == 65535);
  CHECK(file.view<std::int32_t>("I32")[0] == -2147483648);
  CHECK(file.view<std::uint32_t>("U32")[1] == 4294967295);
  CHECK_THROWS_AS(file.view<std::uint8_t>("BOOL"), preheat::invalid_argument);
}

TEST_CASE("NaN is written and read like any number") {
  const temporary_directory directory;
  const fs::path path = directory / "nan.safetensors";
  const std::vector<double> values = {std::nan(""), 1.0};
  safetensors::writer writer;
  for (const dtype stored : {dtype::F64, dtype::F32, dtype::F16, dtype::BF16}) {
    writer.add<double>(std::string(safetensors::name_of(stored)), {2}, values, stored);
  }
  writer.write(path);
  const safetensors::reader file(path);
  for (const std::string& name : file.names()) {
    const std::vector<double> read = file.values<double>(name);
    CHECK(std::isnan(read[0]));
    CHECK(read[1] == 1.0);
  }
}

TEST_CASE("floating-point values are stored in the dtype asked for and read as any number type") {
  const temporary_directory directory;
  const fs::path path = directory / "floats.safetensors";
  const std::vector<double> values = {1.0, -2.0, 0.1, 65504.0, 1e6, 0x1p-24};
  safetensors::writer writer;
  writer.add<double>("F64", {6}, values);
  writer.add<double>("F32", {6}, values, dtype::F32);
  writer.add<double>("F16", {6}, values, dtype::F16);
  writer.add<double>("BF16", {6}, values, dtype::BF16);
  writer.write(path);
  const safetensors::reader file(path);
  for (const char* const name : {"F64", "F32", "F16", "BF16"}) {
    CHECK(safetensors::name_of(file.info(name).type) == name);
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const double f32_tenth = double{0.1F};
  const std::vector<double> as_f32 = {1.0, -2.0, f32_tenth, 65504.0, 1e6, 0x1p-24};
  const std::vector<double> as_f16 = {1.0, -2.0, 0x1.998p-4, 65504.0, infinity, 0x1p-24};
  const std::vector<double> as_bf16 = {1.0, -2.0, 0x1.9Ap-4, 65536.0, 999424.0, 0x1p-24};
  CHECK(file.values<double>("F64") == values);
  CHECK(file.values<double>("F32") == as_f32);
  CHECK(file.values<double>("F16") == as_f16);
  CHECK(file.values<double>("BF16") == as_bf16);
  CHECK(file.values<float>("F64")[2] == 0.1F);
  CHECK(file.view<safetensors::float16>("F16")[0].bits == 0x3C00);
  CHECK(file.view<safetensors::bfloat16>("BF16")[1].bits == 0xC000);
}

TEST_CASE("the 16-bit types themselves can be written, each pattern as it is") {
  const temporary_directory directory;
  const fs::path path = directory / "patterns.safetensors";
  std::vector<safetensors::float16> halves(65536);
  std::vector<safetensors::bfloat16> brains(65536);
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    halves[bits].bits = static_cast<std::uint16_t>(bits);
    brains[bits].bits = static_cast<std::uint16_t>(bits);
  }
  safetensors::writer writer;
  writer.add<safetensors::float16>("half", {256, 256}, halves);
  writer.add<safetensors::bfloat16>("brain", {256, 256}, brains);
  writer.write(path);
  const safetensors::reader file(path);
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    wrong += file.view<safetensors::float16>("half")[bits].bits != bits ? 1 : 0;
    wrong += file.view<safetensors::bfloat16>("brain")[bits].bits != bits ? 1 : 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("integers and booleans: conversions that are exact, and no others") {
  const temporary_directory directory;
  const fs::path path = directory / "integers.safetensors";
  const std::vector<int> values = {0, 1, 127};
  const std::vector<int> flags = {0, 1, 1};
  const std::vector<double> fractions = {1.0, 2.5, 3.0};
  safetensors::writer writer;
  writer.add<int>("I8", {3}, values, dtype::I8);
  writer.add<int>("U64", {3}, values, dtype::U64);
  writer.add<int>("BOOL", {3}, flags, dtype::BOOL);
  writer.add<double>("fractions", {3}, fractions);
  writer.add_bytes("BOOL of 2", {1}, dtype::BOOL, {std::byte{2}});
  writer.write(path);

  const safetensors::reader file(path);
  CHECK(file.values<int>("I8") == values);
  CHECK(file.values<int>("U64") == values);
  CHECK(file.values<float>("I8") == std::vector<float>{0.0F, 1.0F, 127.0F});
  CHECK(file.values<int>("BOOL") == flags);
  CHECK(file.values<double>("BOOL") == std::vector<double>{0.0, 1.0, 1.0});
  CHECK(file.values<int>("BOOL of 2") == std::vector<int>{1});

  using preheat::invalid_argument;
  const auto read_fractions = [&] { file.values<int>("fractions"); };
  const std::string message = message_of<invalid_argument>(read_fractions);
  CHECK(contains(message, "\"fractions\""));
  CHECK(contains(message, "entry 1 cannot be held exactly"));

  const std::vector<int> out_of_range = {0, 300};
  safetensors::writer other;
  CHECK_THROWS_WITH_AS(other.add<int>("x", {2}, out_of_range, dtype::U8),
                       "preheat: tensor \"x\": value 1 cannot be stored as U8", invalid_argument);
  CHECK_THROWS_AS(other.add<int>("x", {2}, out_of_range, dtype::BOOL), invalid_argument);
  CHECK_THROWS_WITH_AS(other.add<int>("x", {2}, out_of_range, dtype::F32),
                       "preheat: tensor \"x\": integer values are not stored as F32",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(other.add<double>("x", {3}, fractions, dtype::I32),
                       "preheat: tensor \"x\": floating-point values are not stored as I32",
                       invalid_argument);
}

TEST_CASE("a matrix larger than a tile is turned both ways") {
  const temporary_directory directory;
  const fs::path path = directory / "matrix.safetensors";
  constexpr index_t rows = 70;
  constexpr index_t cols = 45;
  std::vector<float> column_major(rows * cols);
  std::vector<float> row_major(rows * cols);
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) {
      const float value = static_cast<float>(100 * i + j);
      column_major[static_cast<std::size_t>(i + j * rows)] = value;
      row_major[static_cast<std::size_t>(i * cols + j)] = value;
    }
  }
  safetensors::writer writer;
  writer.add_column_major<float>("W", rows, cols, column_major);
  writer.add<float>("row", {1, 3}, std::array{1.0F, 2.0F, 3.0F});
  writer.add<float>("vector", {3}, std::array{1.0F, 2.0F, 3.0F});
  writer.add<float>("cube", {1, 1, 1}, std::array{1.0F});
  writer.write(path);
  const safetensors::reader file(path);
  CHECK(file.info("W").shape == std::vector<index_t>{rows, cols});
  CHECK(file.values<float>("W") == row_major);
  CHECK(file.column_major<float>("W") == column_major);
  CHECK(file.column_major<double>("row") == std::vector<double>{1.0, 2.0, 3.0});
  CHECK(file.column_major<double>("vector") == std::vector<double>{1.0, 2.0, 3.0});
  const auto turn_cube = [&] { file.column_major<float>("cube"); };
  const std::string message = message_of<preheat::invalid_argument>(turn_cube);
  CHECK(contains(message, "\"cube\": one or two dimensions are needed, its shape is [1, 1, 1]"));
}

TEST_CASE("scalars and empty tensors") {
  const temporary_directory directory;
  const fs::path path = directory / "small.safetensors";
  safetensors::writer writer;
  writer.add_scalar<double>("loss", 0.25);
  writer.add_scalar<std::int64_t>("step", 12);
  writer.add<float>("one", {1, 1}, std::array{3.0F});
  writer.add<float>("none", {0, 5}, {});
  writer.add<double>("nothing", {0}, {});
  writer.write(path);
  const safetensors::reader file(path);
  CHECK(file.info("loss").shape.empty());
  CHECK(file.scalar("loss") == 0.25);
  CHECK(file.scalar("step") == 12.0);
  CHECK(file.scalar("one") == 3.0);
  CHECK(file.values<float>("none").empty());
  CHECK(file.column_major<float>("none").empty());
  CHECK(file.view<float>("none").empty());
  CHECK(file.info("none").count() == 0);
  const auto read_none = [&] { file.scalar("none"); };
  const std::string message = message_of<preheat::invalid_argument>(read_none);
  CHECK(contains(message, "\"none\": one entry is needed, its shape is [0, 5]"));
}

TEST_CASE("a checkpoint keeps every bit, in float32 where that has them") {
  const scratch::temporary_directory dir;
  const fs::path path = dir / "checkpoint.safetensors";
  const double infinite = std::numeric_limits<double>::infinity();
  preheat::training_state state;
  state.entries["floats"] = {2, 3, {0.1F, -0.0, infinite, 1e-45F, 3e38F, 1}};
  state.entries["a double"] = {1, 2, {1, 1.0 / 3}};
  state.entries["too large"] = {1, 1, {1e300}};
  state.entries["too small"] = {1, 1, {1e-60}};
  state.entries["not a number"] = {1, 1, {std::nan("")}};
  state.entries["nothing"] = {0, 0, {}};
  safetensors::save_checkpoint(state, path);
  const auto loaded = safetensors::load_checkpoint(path);
  REQUIRE(loaded);
  CHECK(loaded->entries.size() == state.entries.size());
  for (const auto& [name, m] : state.entries) {
    const auto& other = loaded->entries.at(name);
    CHECK((other.rows == m.rows && other.cols == m.cols));
    REQUIRE(other.values.size() == m.values.size());
    for (std::size_t i = 0; i < m.values.size(); ++i) {
      CHECK(std::bit_cast<std::uint64_t>(other.values[i]) ==
            std::bit_cast<std::uint64_t>(m.values[i]));
    }
  }
  const safetensors::reader file(path);
  CHECK(file.info("floats").type == dtype::F32);
  for (const char* const name : {"a double", "too large", "too small", "not a number"}) {
    CHECK(file.info(name).type == dtype::F64);
  }
}

TEST_CASE("an empty matrix may have any other extent") {
  const temporary_directory directory;
  const fs::path path = directory / "empty.safetensors";
  const std::string entries = entry("tall", "F32", "[9223372036854775807,0]", "[0,0]") + "," +
                              entry("wide", "F32", "[0,9223372036854775807]", "[0,0]");
  write_file(path, file_of("{" + entries + "}"));
  const safetensors::reader file(path);
  CHECK(file.info("tall").count() == 0);
  CHECK(file.column_major<float>("tall").empty());
  CHECK(file.column_major<float>("wide").empty());
}

TEST_CASE("names and metadata, of any text") {
  const temporary_directory directory;
  const fs::path path = directory / "names.safetensors";
  const std::string odd = "quote \" backslash \\ newline \n tab \t snow \xE2\x98\x83";
  safetensors::writer writer;
  writer.metadata("format", "np");
  writer.metadata("format", "pt");
  writer.metadata(odd, odd);
  writer.metadata("", "");
  writer.add_scalar<float>(odd, 1.0F);
  writer.add_scalar<float>("", 2.0F);
  writer.write(path);
  const safetensors::reader file(path);
  const std::map<std::string, std::string> expected = {{"", ""}, {"format", "pt"}, {odd, odd}};
  CHECK(file.metadata() == expected);
  CHECK(file.names() == std::vector<std::string>{"", odd});
  CHECK(file.contains(odd));
  CHECK(file.contains(""));
  CHECK_FALSE(file.contains("quote"));
  CHECK(file.scalar(odd) == 1.0);
  CHECK(file.scalar("") == 2.0);
}

TEST_CASE("bytes of a dtype that is not converted can be copied from file to file") {
  const temporary_directory directory;
  const std::vector<std::byte> bytes = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                                        std::byte{5}, std::byte{6}, std::byte{7}, std::byte{8}};
  safetensors::writer writer;
  writer.add_bytes("fp8", {2, 4}, dtype::F8_E4M3, bytes);
  writer.add_bytes("complex", {1}, dtype::C64, bytes);
  writer.write(directory / "first.safetensors");

  const safetensors::reader first(directory / "first.safetensors");
  std::vector<safetensors::named_tensor> tensors;
  tensors.push_back({"copy", first.info("fp8")});
  safetensors::write(directory / "second.safetensors", tensors, first.metadata());

  const safetensors::reader second(directory / "second.safetensors");
  const safetensors::tensor_info& copy = second.info("copy");
  CHECK(copy.type == dtype::F8_E4M3);
  CHECK(copy.shape == std::vector<index_t>{2, 4});
  CHECK(std::equal(copy.bytes.begin(), copy.bytes.end(), bytes.begin(), bytes.end()));
  const auto read = [&] { first.values<float>("complex"); };
  const std::string message = message_of<preheat::invalid_argument>(read);
  CHECK(contains(message, "\"complex\": its dtype C64 is not converted"));
}

// The bytes on the right were written by the reference implementation, safetensors 0.8.0 of Python.
TEST_CASE("files are laid out byte for byte as by the reference implementation") {
  const temporary_directory directory;
  const fs::path path = directory / "layout.safetensors";
  safetensors::writer writer;
  writer.metadata("k", "v");
  writer.add<float>("w", {2, 3}, std::array{1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  writer.add<double>("h", {1}, std::array{1.5}, dtype::F16);
  writer.add<std::int64_t>("a", {1}, std::array{std::int64_t{7}});
  writer.write(path);
  const std::string header =
      "{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":"
      "[0,8]},\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},\"h\":{\"dtype\":"
      "\"F16\",\"shape\":[1],\"data_offsets\":[32,34]}}  ";
  const std::string data = bytes_of(std::vector<std::int64_t>{7}) +
                           bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6}) +
                           bytes_of(std::vector<std::uint16_t>{0x3E00});
  CHECK(header.size() == 0xC0);
  CHECK(read_file(path) == file_of(header, data));

  safetensors::writer empty;
  empty.write(path);
  CHECK(read_file(path) == file_of("{}      "));
  const safetensors::reader file(path);
  CHECK(file.names().empty());
  CHECK(file.metadata().empty());
}

TEST_CASE("every tensor that the writer lays out is aligned for its dtype") {
  const temporary_directory directory;
  const fs::path path = directory / "aligned.safetensors";
  for (std::size_t length = 1; length <= 16; ++length) {  // of a name, so of the header
    const std::string name(length, 'x');
    safetensors::writer writer;
    writer.add<std::uint8_t>("a" + name, {1}, std::array{std::uint8_t{1}});
    writer.add<double>("b" + name, {1}, std::array{2.0});
    writer.add<safetensors::float16>("c" + name, {1}, std::array{safetensors::float16{0x3C00}});
    writer.add<float>("d" + name, {1}, std::array{3.0F});
    writer.write(path);
    const safetensors::reader file(path);
    CHECK(file.view<double>("b" + name)[0] == 2.0);
    CHECK(file.view<float>("d" + name)[0] == 3.0F);
    CHECK(file.view<safetensors::float16>("c" + name)[0].bits == 0x3C00);
  }
}

TEST_CASE("data at an odd address are read, and refused only as a view") {
  const temporary_directory directory;
  const fs::path path = directory / "odd.safetensors";
  const std::string data = "!" + bytes_of(std::vector<double>{1.5, -2.5});
  std::string header =
      "{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("x", "F64", "[2]", "[1,17]") + "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  write_file(path, file_of(header, data));
  const safetensors::reader file(path);
  CHECK(file.values<double>("x") == std::vector<double>{1.5, -2.5});
  CHECK(file.column_major<float>("x") == std::vector<float>{1.5F, -2.5F});
  const auto view = [&] { file.view<double>("x"); };
  const std::string message = message_of<preheat::invalid_argument>(view);
  CHECK(contains(message, "\"x\": its bytes are not aligned to the 8 bytes"));
}

TEST_CASE("a view of another dtype is refused with both names") {
  const temporary_directory directory;
  const fs::path path = directory / "view.safetensors";
  safetensors::writer writer;
  writer.add<float>("w", {1}, std::array{1.0F});
  writer.write(path);
  const safetensors::reader file(path);
  const auto view = [&] { file.view<double>("w"); };
  const std::string message = message_of<preheat::invalid_argument>(view);
  CHECK(contains(message, path.string()));
  CHECK(contains(message, "\"w\": its dtype is F32, the view asks for F64"));
}

TEST_CASE("an unknown name is answered with the closest ones") {
  const temporary_directory directory;
  const fs::path path = directory / "unknown.safetensors";
  safetensors::writer writer;
  for (const char* const name : {"layer.0.query.weight", "layer.0.query.bias", "pooler",
                                 "layer.0.key.weight", "layer.11.query.weight"}) {
    writer.add_scalar<float>(name, 0.0F);
  }
  writer.write(path);
  const safetensors::reader file(path);
  const auto read = [&] { file.values<float>("layer.1.query.weight"); };
  const std::string message = message_of<preheat::invalid_argument>(read);
  CHECK(contains(message, path.string()));
  CHECK(contains(message,
                 "no tensor \"layer.1.query.weight\"; it has 5 tensors, the closest are "
                 "\"layer.11.query.weight\", \"layer.0.query.weight\""));
  CHECK_FALSE(contains(message, "pooler"));
}

TEST_CASE("an open file is moved, not copied, and its spans stay") {
  static_assert(!std::is_copy_constructible_v<safetensors::reader>);
  static_assert(!std::is_copy_assignable_v<safetensors::reader>);
  static_assert(std::is_nothrow_move_constructible_v<files::mapped_file>);
  const temporary_directory directory;
  safetensors::writer writer;
  writer.add<float>("w", {2}, std::array{1.0F, 2.0F});
  writer.write(directory / "first.safetensors");
  writer.add<float>("v", {1}, std::array{3.0F});
  writer.write(directory / "second.safetensors");

  safetensors::reader first(directory / "first.safetensors");
  const std::span<const float> view = first.view<float>("w");
  safetensors::reader moved = std::move(first);
  CHECK(view[1] == 2.0F);
  CHECK(moved.view<float>("w").data() == view.data());
  moved = safetensors::reader(directory / "second.safetensors");
  CHECK(moved.values<float>("v") == std::vector<float>{3.0F});
}

TEST_CASE("an open file keeps its bytes when a writer replaces it") {
  const temporary_directory directory;
  const fs::path path = directory / "replaced.safetensors";
  safetensors::writer before;
  before.add_scalar<float>("x", 1.0F);
  before.write(path);
  const safetensors::reader old_file(path);
  safetensors::writer after;
  after.add_scalar<float>("x", 2.0F);
  after.write(path);
  CHECK(old_file.scalar("x") == 1.0);
  CHECK(safetensors::reader(path).scalar("x") == 2.0);
}

TEST_CASE("what is not a regular file is refused by name") {
  const temporary_directory directory;
  const auto error_of_opening = [](const fs::path& path) {
    return message_of<preheat::io_error>([&] { safetensors::reader file(path); });
  };
  const fs::path missing = directory / "missing.safetensors";
  const std::string message = error_of_opening(missing);
  CHECK(contains(message, missing.string()));
  CHECK(contains(message, "cannot open: No such file or directory"));

  const fs::path folder = directory / "folder";
  fs::create_directory(folder);
  CHECK(contains(error_of_opening(folder), "not a regular file"));

  const fs::path pipe = directory / "pipe";  // that nobody writes: opening it must not wait
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(contains(error_of_opening(pipe), "not a regular file"));

  const fs::path empty = directory / "empty.safetensors";
  write_file(empty, "");
  CHECK(contains(error_of_opening(empty), "the file has 0 bytes, less than the 8"));
}

TEST_CASE("hostile files are refused, each with one clear error") {
  struct hostile {
    std::string bytes;
    std::string message;  // that the error contains
  };
  const std::string good = entry("a", "F32", "[2]", "[0,8]");
  const std::string eight = "12345678";
  const std::string deep(10'000, '[');
  const std::vector<hostile> files = {
      // The file and the length of its header.
      {"1234567", "the file has 7 bytes, less than the 8"},
      {length_prefix(100'000'001) + "{}", "header length <= 100000000 (100000001)"},
      {length_prefix(~std::uint64_t{0}), "header length <= 100000000 (18446744073709551615)"},
      {length_prefix(3) + "{}", "header length <= bytes after it (3, 2)"},
      {length_prefix(100'000'000), "header length <= bytes after it (100000000, 0)"},
      // The header as JSON.
      {file_of(""), "the header starts with \"\", not with \"{\""},
      {file_of("[]"), "the header starts with \"[\", not with \"{\""},
      {file_of(" {}"), "the header starts with \" \", not with \"{\""},
      {file_of("{"), "header: not JSON: "},
      {file_of("{]"), "header: not JSON: "},
      {file_of("{} x"), "header: not JSON: "},
      {file_of("{}{}"), "header: not JSON: "},
      {file_of("{\"a\":}"), "header: not JSON: "},
      {file_of("{\"\xFF\":1}"), "header: not JSON: "},
      {file_of("{\"a\":1e999}"), "header: not JSON: "},
      {file_of(std::string("{}\0\0", 4)), "header: not JSON: it contains a zero byte"},
      {file_of("{\"a\":" + deep), "header: values nested at most 3 deep"},
      {file_of("{\"__metadata__\":{\"a\":[[" + deep), "values nested at most 3 deep"},
      {file_of("{" + good + "," + good + "}", eight),
       "header: the key \"a\" occurs twice in one object"},
      {file_of("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"F32\"}}"), "the key \"dtype\" occurs twice"},
      {file_of("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"), "the key \"k\" occurs twice"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}"),
       "the key \"__metadata__\" occurs twice"},
      // Metadata.
      {file_of("{\"__metadata__\":null}"), "__metadata__ is not an object but \"null\""},
      {file_of("{\"__metadata__\":[]}"), "__metadata__ is not an object"},
      {file_of("{\"__metadata__\":{\"k\":1}}"), "the value of \"k\" is not a string but \"1\""},
      {file_of("{\"__metadata__\":{\"k\":{}}}"), "the value of \"k\" is not a string"},
      // One tensor.
      {file_of("{\"a\":1}"), "tensor \"a\": its entry is not an object"},
      {file_of("{\"a\":{}}"), "tensor \"a\": it has no dtype"},
      {file_of("{\"a\":{\"dtype\":\"F32\"}}"), "tensor \"a\": it has no shape"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}"), "tensor \"a\": it has no data_offsets"},
      {file_of("{\"a\":{\"dtype\":32}}"), "tensor \"a\": its dtype is not a string but \"32\""},
      {file_of("{" + entry("a", "F31", "[2]", "[0,8]") + "}", eight), "unknown dtype \"F31\""},
      {file_of("{" + entry("a", "f32", "[2]", "[0,8]") + "}", eight), "unknown dtype \"f32\""},
      {file_of("{" + entry("a", "F32", "2", "[0,8]") + "}", eight), "its shape is not an array"},
      {file_of("{" + entry("a", "F32", "[-2]", "[0,8]") + "}", eight),
       "its shape contains \"-2\", not an integer >= 0"},
      {file_of("{" + entry("a", "F32", "[2.0]", "[0,8]") + "}", eight),
       "its shape contains \"2.0\", not an integer >= 0"},
      {file_of("{" + entry("a", "F32", "[\"2\"]", "[0,8]") + "}", eight),
       "its shape contains \"\\\"2\\\"\", not an integer >= 0"},
      {file_of("{" + entry("a", "F32", "[true]", "[0,8]") + "}", eight), "not an integer >= 0"},
      {file_of("{" + entry("a", "F32", "[[2]]", "[0,8]") + "}", eight),
       "values nested at most 3 deep"},
      {file_of("{" + entry("a", "F32", "[9223372036854775808]", "[0,8]") + "}", eight),
       "its shape contains 9223372036854775808, which overflows"},
      {file_of("{" + entry("a", "F32", "[99999999999999999999]", "[0,8]") + "}", eight),
       "not an integer >= 0"},
      {file_of("{" + entry("a", "F32", "[4294967296,4294967296]", "[0,8]") + "}", eight),
       "the number of entries of F32 [4294967296, 4294967296] overflows"},
      {file_of("{" + entry("a", "F64", "[2305843009213693952]", "[0,8]") + "}", eight),
       "the number of bytes of F64 [2305843009213693952] overflows"},
      // Where its bytes lie.
      {file_of("{" + entry("a", "F32", "[2]", "[0]") + "}", eight), "data_offsets has 2 entries"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,4,8]") + "}", eight), "data_offsets has 2"},
      {file_of("{" + entry("a", "F32", "[2]", "8") + "}", eight), "data_offsets is not an array"},
      {file_of("{" + entry("a", "F32", "[2]", "[-8,0]") + "}", eight), "contains \"-8\""},
      {file_of("{" + entry("a", "F32", "[2]", "[8,0]") + "}", eight),
       "data_offsets [8, 0) end before they begin"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,9]") + "}", eight),
       "data_offsets [0, 9) go beyond the 8 bytes of data"},
      {file_of("{" + entry("a", "F32", "[0]", "[9,9]") + "}", eight), "go beyond the 8 bytes"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,18446744073709551615]") + "}", eight),
       "which overflows"},
      {file_of("{" + entry("a", "F32", "[3]", "[0,8]") + "}", eight),
       "data_offsets [0, 8) hold 8 bytes, F32 [3] needs 12"},
      {file_of("{" + entry("a", "F64", "[2]", "[0,8]") + "}", eight),
       "data_offsets [0, 8) hold 8 bytes, F64 [2] needs 16"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,8]") + "}", eight),
       "data_offsets [0, 8) hold 8 bytes, F32 [1] needs 4"},
      {file_of("{" + entry("a", "F32", "[2,0]", "[0,8]") + "}", eight),
       "data_offsets [0, 8) hold 8 bytes, F32 [2, 0] needs 0"},
      // The tensors together.
      {file_of("{" + good + "," + entry("b", "F32", "[2]", "[0,8]") + "}", eight),
       "tensor \"b\": its bytes begin at 0, inside those of \"a\", which end at 8"},
      {file_of("{" + good + "," + entry("b", "F32", "[1]", "[4,8]") + "}", eight),
       "tensor \"b\": its bytes begin at 4, inside those of \"a\", which end at 8"},
      {file_of("{" + good + "," + entry("b", "F32", "[0]", "[4,4]") + "}", eight), "inside those"},
      {file_of("{" + entry("a", "F32", "[1]", "[4,8]") + "}", eight),
       "tensor \"a\": its bytes begin at 4, and those from 0 on belong to no tensor"},
      {file_of("{" + good + "," + entry("b", "U8", "[1]", "[9,10]") + "}", "1234567890"),
       "tensor \"b\": its bytes begin at 9, and those from 8 on belong to no tensor"},
      {file_of("{" + good + "}", "123456789"), "the tensors end at byte 8 of the 9 bytes of data"},
      {file_of("{}", "1"), "the tensors end at byte 0 of the 1 bytes of data"},
  };
  const temporary_directory directory;
  const fs::path path = directory / "hostile.safetensors";
  for (const hostile& file : files) {
    CAPTURE(file.message);
    write_file(path, file.bytes);
    const auto open = [&] { safetensors::reader opened(path); };
    const std::string message = message_of<preheat::io_error>(open);
    CAPTURE(message);
    CHECK(message.starts_with("preheat: " + path.string() + ": "));
    CHECK(contains(message, file.message));
    CHECK(message.size() < 1000);
    CHECK_THROWS_AS(parse(file.bytes), preheat::io_error);
  }
}

TEST_CASE("what the format allows is accepted") {
  const std::string eight = "12345678";
  CHECK(parse(file_of("{}")).tensors.empty());
  CHECK(parse(file_of("{ \n}  \t")).tensors.empty());
  CHECK(parse(file_of("{\"__metadata__\":{}}")).metadata.empty());
  // An empty tensor between two others, and after the last.
  const std::string entries =
      entry("a", "U8", "[4]", "[0,4]") + "," + entry("b", "U8", "[0,9]", "[4,4]") + "," +
      entry("c", "U8", "[4]", "[4,8]") + "," + entry("d", "F64", "[0]", "[8,8]");
  CHECK(parse(file_of("{" + entries + "}", eight)).tensors.size() == 4);
  // Names may be used again inside another object, and unknown keys are passed over.
  const std::string unknown_key =
      "{\"dtype\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8],\"note\":[1,2.5]}}";
  CHECK(parse(file_of(unknown_key, eight)).tensors.count("dtype") == 1);
}

TEST_CASE("a header of very many tensors is read in a moment") {
  // A parser that looks back at all earlier members after each one needs minutes for these.
  constexpr int count = 50'000;
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    const std::string offsets = "[" + std::to_string(i) + "," + std::to_string(i + 1) + "]";
    header += entry("layer." + std::to_string(i), "U8", "[1]", offsets) + ",";
  }
  header.back() = '}';
  CHECK(parse(file_of(header, std::string(count, 'x'))).tensors.size() == count);
}

TEST_CASE("a file cut anywhere is refused, never read beyond its end") {
  const temporary_directory directory;
  const fs::path whole = directory / "whole.safetensors";
  safetensors::writer writer;
  writer.metadata("format", "pt");
  writer.add<float>("weight", {2, 3}, std::array{1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  writer.add<double>("bias", {2}, std::array{1.0, 2.0}, dtype::BF16);
  writer.write(whole);
  const std::string bytes = read_file(whole);
  const fs::path cut = directory / "cut.safetensors";
  int refused = 0;
  int refused_in_memory = 0;
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const std::string_view prefix(bytes.data(), length);
    write_file(cut, prefix);
    const auto open = [&] { safetensors::reader file(cut); };
    refused += message_of<preheat::io_error>(open).empty() ? 0 : 1;
    refused_in_memory += message_of<preheat::io_error>([&] { parse(prefix); }).empty() ? 0 : 1;
  }
  CHECK(refused == static_cast<int>(bytes.size()));
  CHECK(refused_in_memory == static_cast<int>(bytes.size()));
}

TEST_CASE("a file with any one bit changed is read or refused, and does nothing else") {
  const temporary_directory directory;
  const fs::path path = directory / "changed.safetensors";
  safetensors::writer writer;
  writer.metadata("format", "pt");
  writer.add<float>("weight", {2, 3}, std::array{1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  writer.add<int>("ids", {2}, std::array{1, 2}, dtype::I64);
  writer.write(path);
  const std::string bytes = read_file(path);
  int read = 0;
  int refused = 0;
  int wrong_sizes = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ (1 << bit));
      try {
        const safetensors::file_header header = parse(changed);
        ++read;
        for (const auto& [name, tensor] : header.tensors) {
          const index_t size = tensor.count() * safetensors::size_of(tensor.type);
          wrong_sizes += std::cmp_not_equal(size, tensor.bytes.size()) ? 1 : 0;
        }
      } catch (const preheat::io_error&) {
        ++refused;
      }
    }
  }
  CHECK(read > 0);
  CHECK(refused > 0);
  CHECK(read + refused == static_cast<int>(bytes.size()) * 8);
  CHECK(wrong_sizes == 0);
}

TEST_CASE("the writer refuses tensors that make no file") {
  using preheat::invalid_argument;
  const std::array two = {1.0F, 2.0F};
  safetensors::writer writer;
  writer.add<float>("w", {2}, two);
  CHECK_THROWS_WITH_AS(writer.add<float>("w", {2}, two),
                       "preheat: tensor \"w\": the name is used twice", invalid_argument);
  CHECK_THROWS_WITH_AS(writer.add<float>("__metadata__", {2}, two),
                       "preheat: tensor \"__metadata__\": the format keeps this name for its "
                       "metadata",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(writer.add<float>("x", {3}, two),
                       "preheat: tensor \"x\": 2 values for the 3 entries of [3]",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(writer.add_column_major<float>("x", 2, 2, two),
                       "preheat: tensor \"x\": 2 values for the 4 entries of [2, 2]",
                       invalid_argument);
  CHECK_THROWS_WITH_AS(writer.add<float>("x", {-1, -2}, two),
                       "preheat: tensor \"x\": every extent >= 0, its shape is [-1, -2]",
                       invalid_argument);
  const index_t huge = std::numeric_limits<index_t>::max();
  CHECK_THROWS_WITH_AS(writer.add<float>("x", {huge, 2}, two),
                       ("preheat: tensor \"x\": the number of entries of [" + std::to_string(huge) +
                        ", 2] overflows")
                           .c_str(),
                       invalid_argument);
  CHECK_THROWS_WITH_AS(writer.add_bytes("x", {1}, dtype::F64, std::vector<std::byte>(9)),
                       "preheat: tensor \"x\": 9 bytes for 1 entries of 8 bytes", invalid_argument);
  CHECK_THROWS_AS(writer.add_bytes("x", {huge}, dtype::F64, {}), invalid_argument);
  const std::string not_utf8 = "\xFF";
  CHECK_THROWS_AS(writer.add<float>(not_utf8, {2}, two), invalid_argument);

  const temporary_directory directory;
  std::vector<safetensors::named_tensor> tensors;
  tensors.push_back({"x", {dtype::F32, {2}, std::as_bytes(std::span(two))}});
  tensors.push_back({"x", {dtype::F64, {1}, std::as_bytes(std::span(two))}});
  CHECK_THROWS_WITH_AS(safetensors::write(directory / "twice.safetensors", tensors),
                       "preheat: tensor \"x\": the name is used twice", invalid_argument);
  writer.metadata("k", not_utf8);
  CHECK_THROWS_AS(writer.write(directory / "bad.safetensors"), invalid_argument);
  CHECK(directory.file_names().empty());
}

TEST_CASE("a write leaves the file and nothing else, and can replace an older file") {
  const temporary_directory directory;
  const fs::path path = directory / "model.safetensors";
  safetensors::writer writer;
  writer.add_scalar<float>("x", 1.0F);
  writer.write(path);
  writer.write(path);
  CHECK(directory.file_names() == std::vector<std::string>{"model.safetensors"});
  CHECK(safetensors::reader(path).scalar("x") == 1.0);
}

TEST_CASE("a write into a directory that does not exist leaves nothing") {
  const temporary_directory directory;
  const fs::path path = directory / "absent/model.safetensors";
  safetensors::writer writer;
  writer.add_scalar<float>("x", 1.0F);
  const std::string message = message_of<preheat::io_error>([&] { writer.write(path); });
  CHECK(contains(message, path.string()));
  CHECK(contains(message, "cannot create a temporary file beside it: No such file or directory"));
  CHECK(directory.file_names().empty());
}

TEST_CASE("a write over a directory leaves the directory and no temporary") {
  const temporary_directory directory;
  const fs::path path = directory / "folder";
  fs::create_directory(path);
  safetensors::writer writer;
  writer.add_scalar<float>("x", 1.0F);
  const std::string message = message_of<preheat::io_error>([&] { writer.write(path); });
  CHECK(contains(message, "cannot rename the temporary file"));
  CHECK(directory.file_names() == std::vector<std::string>{"folder"});
}

TEST_CASE("a write that fails halfway leaves the older file as it was") {
  const temporary_directory directory;
  const fs::path path = directory / "model.safetensors";
  safetensors::writer small;
  small.add_scalar<float>("x", 1.0F);
  small.write(path);
  const std::string before = read_file(path);
  safetensors::writer large;
  large.add<double>("x", {100'000}, std::vector<double>(100'000));

  // As on a full disk: no file of this process may grow beyond 64 KiB for a moment.
  struct rlimit usual = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &usual) == 0);
  struct rlimit reduced = usual;
  reduced.rlim_cur = 65536;
  const auto usual_handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &reduced) == 0);
  const std::string message = message_of<preheat::io_error>([&] { large.write(path); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &usual) == 0);
  std::signal(SIGXFSZ, usual_handler);

  CHECK(contains(message, path.string()));
  CHECK(contains(message, "cannot write: File too large"));
  CHECK(read_file(path) == before);
  CHECK(directory.file_names() == std::vector<std::string>{"model.safetensors"});
  large.write(path);
  CHECK(safetensors::reader(path).info("x").count() == 100'000);
}

TEST_CASE("two unfinished writes of one target do not share a temporary file") {
  const temporary_directory directory;
  const fs::path path = directory / "shared";
  {
    files::atomic_file first(path);
    files::atomic_file second(path);
    first.write(std::as_bytes(std::span("first", 5)));
    second.write(std::as_bytes(std::span("second", 6)));
    CHECK(directory.file_names().size() == 2);
    second.commit();
    CHECK(read_file(path) == "second");
  }
  CHECK(read_file(path) == "second");
  CHECK(directory.file_names() == std::vector<std::string>{"shared"});
}
