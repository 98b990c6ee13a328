// GGUF files: what is written is read back, what is broken is refused with one error that names the
// fault, and nothing that a file claims is believed before it is checked.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <preheat/gguf/gguf.hpp>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/refusal.hpp"
#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
namespace gguf = preheat::gguf;
using conformance::refusal;
using gguf::tensor_type;
using preheat::index_t;
using preheat::view;
using scratch::temporary_directory;

template <class T>
std::string number(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string u32(std::uint32_t value) {
  return number(value);
}
std::string u64(std::uint64_t value) {
  return number(value);
}
std::string text(std::string_view t) {
  return u64(t.size()) + std::string(t);
}

// A file from its parts, filled up with zeros to the alignment before the data.
std::string file_of(std::uint64_t tensors, std::uint64_t values, std::string_view head,
                    std::string_view data, std::size_t alignment = 32) {
  std::string file = "GGUF" + u32(3) + u64(tensors) + u64(values) + std::string(head);
  file.resize((file.size() + alignment - 1) / alignment * alignment);
  return file + std::string(data);
}
std::string tensor(std::string_view name, const std::vector<std::uint64_t>& extents,
                   std::uint32_t type, std::uint64_t offset) {
  std::string entry = text(name) + u32(std::uint32_t(extents.size()));
  for (const std::uint64_t e : extents) {
    entry += u64(e);
  }
  return entry + u32(type) + u64(offset);
}

// Reads from memory that is exactly as long as the file, so that a sanitizer sees a read beyond it.
// Gives what the reader says against it; "" if nothing.
std::string fault_of(std::string_view file) {
  const auto bytes = std::as_bytes(std::span(file));
  const std::vector<std::byte> memory(bytes.begin(), bytes.end());
  try {
    gguf::parse_header(memory, "m.gguf");
  } catch (const preheat::io_error& error) {
    std::string_view what = error.what();
    CHECK(what.starts_with("preheat: m.gguf: "));
    what.remove_prefix(std::strlen("preheat: m.gguf: "));
    return std::string(what);
  }
  return "";
}

std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& one : x) {
    one = normal(generator);
  }
  return x;
}

}  // namespace

TEST_CASE("GGUF: tensors come back as they were written") {
  const temporary_directory directory;
  const fs::path path = directory / "a.gguf";
  const std::vector<float> x = numbers(6 * 64, 1);
  gguf::writer writer;
  writer.metadata().set("general.architecture", "llama");
  writer.add<float>("matrix", {6, 64}, x);
  writer.add<float>("vector", {3}, std::span(x).first(3));
  writer.add<float>("half", {2, 3, 64}, x, tensor_type::F16);
  writer.add<float>("brain", {6, 64}, x, tensor_type::BF16);
  writer.add<float>("eight", {6, 64}, x, tensor_type::Q8_0);
  writer.write(path);

  const gguf::reader file(path);
  CHECK(file.version() == 3);
  CHECK(file.source() == path.string());
  CHECK(file.tensors().size() == 5);
  CHECK(file.values<float>("matrix") == x);
  CHECK(file.info("vector").shape == std::vector<index_t>{3});
  CHECK(file.values<double>("vector") == std::vector<double>(x.begin(), x.begin() + 3));
  CHECK(file.info("half").shape == std::vector<index_t>{2, 3, 64});
  CHECK(file.info("half").rows() == 6);
  const std::vector<float> half = file.values<float>("half");
  const std::vector<float> brain = file.values<float>("brain");
  const std::vector<float> eight = file.values<float>("eight");
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(half[i] == to_float(preheat::safetensors::round_to<preheat::safetensors::float16>(x[i])));
    CHECK(brain[i] ==
          to_float(preheat::safetensors::round_to<preheat::safetensors::bfloat16>(x[i])));
    float largest = 0;
    for (std::size_t k = i / 32 * 32; k < i / 32 * 32 + 32; ++k) {
      largest = std::max(largest, std::abs(x[k]));
    }
    CHECK(std::abs(eight[i] - x[i]) <= largest / 200);
  }
  // The whole is packed: llama.cpp insists on it.
  std::size_t last = 0;
  for (const char* const name : {"matrix", "vector", "half", "brain", "eight"}) {
    const auto& bytes = file.info(name).bytes;
    const std::size_t begin = std::size_t(bytes.data() - file.info("matrix").bytes.data());
    CHECK(begin == (last + 31) / 32 * 32);
    last = begin + bytes.size();
  }
}

TEST_CASE_TEMPLATE("GGUF: rows and matrices of any size, in any order of the rows", T, float,
                   double) {
  // More than one tile of rows and of columns, and remainders; packed and plain.
  for (const tensor_type type : {tensor_type::F32, tensor_type::Q8_0}) {
    for (const index_t rows : {1, 12, 32, 36}) {
      for (const index_t cols : {32, 256, 288, 544}) {
        const std::vector<float> x = numbers(std::size_t(rows * cols), unsigned(rows + cols));
        const std::vector<std::byte> bytes = gguf::packed<float>("x", type, x, cols);
        const gguf::tensor_info tensor{type, {rows, cols}, bytes};
        std::vector<float> flat(x.size());
        gguf::unpack_blocks(type, bytes.data(), rows * cols / gguf::block_entries(type),
                            flat.data());

        // Rows as columns, into a larger matrix.
        const index_t ld = cols + 3;
        std::vector<T> columns(std::size_t(ld * rows), T(-7));
        const index_t first = rows / 3;
        gguf::read_rows("x", tensor, first, view<T>(columns.data(), cols, rows - first, ld));
        bool same = true;
        for (index_t j = 0; j < rows - first; ++j) {
          for (index_t i = 0; i < ld; ++i) {
            const T expected = i < cols ? T(flat[std::size_t((first + j) * cols + i)]) : T(-7);
            same = same && columns[std::size_t(i + j * ld)] == expected;
          }
        }
        CHECK(same);

        // The transpose, rows of heads of 4 in pairs.
        const index_t wide = rows + 1;
        std::vector<T> matrix(std::size_t(wide * cols), T(-7));
        const bool heads = rows % 4 == 0;
        const auto read = [&](auto order) {
          gguf::read_matrix("x", tensor, view<T>(matrix.data(), rows, cols, wide), order);
          bool equal = true;
          for (index_t j = 0; j < cols; ++j) {
            for (index_t i = 0; i < wide; ++i) {
              const T expected = i < rows ? T(flat[std::size_t(order(i) * cols + j)]) : T(-7);
              equal = equal && matrix[std::size_t(i + j * wide)] == expected;
            }
          }
          CHECK(equal);
        };
        read(gguf::rows_in_order{});
        if (heads) {
          read(gguf::rows_in_pairs(4));
        }
      }
    }
  }
}

TEST_CASE("GGUF: halves of a head are in pairs in the file") {
  // A head of 6: entries 0 1 2 | 3 4 5 are stored as 0 3 1 4 2 5.
  const gguf::rows_in_pairs order(6);
  const std::vector<index_t> stored = {0, 2, 4, 1, 3, 5};
  for (index_t i = 0; i < 12; ++i) {
    CHECK(order(i) == i / 6 * 6 + stored[std::size_t(i % 6)]);
  }
  CHECK(refusal([] { gguf::rows_in_pairs(5); }).find("a head's size is even") != std::string::npos);
}

TEST_CASE("GGUF: mistakes of the caller are refused") {
  const std::vector<float> x(64, 1.0F);
  const temporary_directory directory;
  gguf::writer writer;
  writer.add<float>("blk.0.attn_q.weight", {2, 32}, x);
  CHECK(refusal([&] { writer.add<float>("blk.0.attn_q.weight", {64}, x); }) ==
        "preheat: tensor \"blk.0.attn_q.weight\": the name is used twice");
  CHECK(refusal([&] {
          writer.add<float>("y", {2, 33}, x);
        }) == "preheat: tensor \"y\": values given = entries of [2, 33] (64, 66)");
  CHECK(refusal([&] {
          writer.add<float>("y", {-2, -32}, x);
        }).find("every extent >= 1") != std::string::npos);
  CHECK(refusal([&] {
          writer.add<float>("y", {4, 16}, x, tensor_type::Q8_0);
        }) == "preheat: tensor \"y\": columns are a multiple of Q8_0's 32 (16, 32)");
  CHECK(refusal([&] { writer.add<float>("y", {64}, x, tensor_type::Q4_0); }) ==
        "preheat: tensor \"y\": F32, F16, BF16 and Q8_0 are written, not Q4_0");
  CHECK(refusal([&] { writer.add<float>(std::string(64, 'n'), {64}, x); }).find("<= 63 (64, 63)") !=
        std::string::npos);
  CHECK(refusal([&] {
          writer.add<float>("y", {2, 2, 2, 2, 4}, x);
        }).find("dimensions >= 1 and <= 4 (5, 4)") != std::string::npos);
  CHECK(refusal([&] {
          writer.add<float>("y", {std::numeric_limits<index_t>::max(), 4}, x);
        }).find("values given") != std::string::npos);
  std::vector<float> large = x;
  large[40] = 1e9F;
  CHECK(refusal([&] { writer.add<float>("y", {64}, large, tensor_type::F16); }) ==
        "preheat: tensor \"y\": a number is too large for F16");
  CHECK(refusal([&] { writer.add<float>("y", {64}, large, tensor_type::Q8_0); }) ==
        "preheat: tensor \"y\": a number is too large for Q8_0");
  large[40] = std::numeric_limits<float>::quiet_NaN();
  CHECK(refusal([&] { writer.add<float>("y", {64}, large, tensor_type::Q8_0); }) ==
        "preheat: tensor \"y\": Q8_0 holds finite numbers only");
  CHECK(refusal([&] { writer.add_bytes("y", {64}, tensor_type::F32, {}); }) ==
        "preheat: tensor \"y\": bytes given = bytes of its shape (0, 256)");

  writer.add_bytes("i", {4}, tensor_type::I32, std::vector<std::byte>(16));
  writer.write(directory / "a.gguf");
  const gguf::reader file(directory / "a.gguf");
  CHECK(refusal([&] { file.values<float>("blk.0.attn_q"); }) ==
        "preheat: " + file.source() +
            ": no tensor \"blk.0.attn_q\"; it has 2 tensors, the closest are "
            "\"blk.0.attn_q.weight\", \"i\"");
  CHECK(refusal([&] {
          file.values<float>("i");
        }).find("tensor \"i\": its type I32 is not unpacked; F32, F16") != std::string::npos);
  std::vector<float> to(64);
  const gguf::tensor_info& q = file.info("blk.0.attn_q.weight");
  CHECK(refusal([&] { gguf::read_matrix("q", q, view<float>(to.data(), 32, 2)); }) ==
        "preheat: tensor \"q\": its shape is [2, 32], the matrix is [32, 2]");
  CHECK(refusal([&] { gguf::read_rows("q", q, 1, view<float>(to.data(), 32, 2)); }) ==
        "preheat: tensor \"q\": rows read <= rows there are (3, 2)");
  CHECK(refusal([&] { gguf::read_rows("q", q, 0, view<float>(to.data(), 16, 2)); }) ==
        "preheat: tensor \"q\": entries of a row (16, 32)");
}

TEST_CASE("GGUF: a failed write leaves the old file and nothing else") {
  const temporary_directory directory;
  gguf::writer writer;
  writer.write(directory / "a.gguf");
  CHECK_THROWS_AS(writer.write(directory / "none" / "a.gguf"), preheat::io_error);
  const std::string before = scratch::read_file(directory / "a.gguf");
  const std::vector<gguf::named_tensor> bad = {{"x", {tensor_type::F32, {3}, {}}}};
  CHECK_THROWS_AS(gguf::write(directory / "a.gguf", bad, {}), preheat::invalid_argument);
  CHECK(scratch::read_file(directory / "a.gguf") == before);
  CHECK(directory.file_names() == std::vector<std::string>{"a.gguf"});
}

TEST_CASE("GGUF: hostile headers are refused before anything is reserved") {
  const std::string data(256, '\0');
  const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  CHECK(fault_of("") == "not a GGUF file: its first bytes are not \"GGUF\"");
  CHECK(fault_of("GGUF" + u32(3u << 24) + u64(0) + u64(0)) ==
        "a big-endian file, which is not read");
  CHECK(fault_of("GGUF" + u32(1) + u64(0) + u64(0)) == "version 1 of the format; 2 and 3 are read");
  CHECK(fault_of(file_of(huge, 0, "", "")) ==
        "18446744073709551615 tensors do not fit into the 8 bytes that follow");
  CHECK(fault_of(file_of(0, huge, "", "")) ==
        "18446744073709551615 metadata values do not fit into the 8 bytes that follow");
  CHECK(fault_of(file_of(0, 1, text("k") + u32(13) + u64(0), "")) ==
        "metadata \"k\": its type 13 is unknown");
  CHECK(fault_of(file_of(0, 1, text("k") + u32(9) + u32(8) + u64(huge / 8), "")) ==
        "metadata \"k\": its array of 2305843009213693951 STRING goes beyond the end of the file");
  CHECK(fault_of(file_of(0, 1, text("k") + u32(9) + u32(7) + u64(3) + std::string("\1\0\5", 3),
                         "")) == "metadata \"k\": a BOOL is 0 or 1, not 5");
  CHECK(fault_of(file_of(0, 2, text("k") + u32(0) + "1" + text("k") + u32(0) + "2", data)) ==
        "metadata \"k\": the key occurs twice");
  const std::string f32 = tensor("x", {8, 2}, 0, 0);
  CHECK(fault_of(file_of(1, 0, f32, data)) == "");
  CHECK(fault_of(file_of(1, 0, f32, data.substr(0, 63))) ==
        "tensor \"x\": its 64 bytes from offset 0 on go beyond the 63 bytes of data");
  CHECK(fault_of(file_of(1, 0, tensor("x", {8, 2}, 0, huge - 31), data)) ==
        "tensor \"x\": its 64 bytes from offset 18446744073709551584 on go beyond the 256 bytes of "
        "data");
  CHECK(fault_of(file_of(2, 0, f32 + tensor("y", {8}, 0, 32), data)) ==
        "tensor \"y\": its bytes begin at 32, inside those of \"x\", which end at 64");
  CHECK(fault_of(file_of(2, 0, f32 + tensor("x", {8}, 0, 64), data)) ==
        "tensor \"x\": the name occurs twice");
  CHECK(fault_of(file_of(1, 0, tensor("x", {48}, 8, 0), data)) ==
        "tensor \"x\": Q8_0 [48]: 48 columns are not a multiple of 32");
  CHECK(fault_of(file_of(1, 0, tensor("x", {std::uint64_t(1) << 33, std::uint64_t(1) << 33}, 0, 0),
                         data)) ==
        "tensor \"x\": the size of F32 [8589934592, 8589934592] overflows");
  CHECK(fault_of(file_of(1, 0, tensor("", {8}, 0, 0), data)) ==
        "tensor \"\": a name has 1 to 64 bytes, not 0");
  CHECK(
      fault_of(file_of(1, 1, text("general.alignment") + u32(4) + u32(64) + f32, "", 1)) ==
      "the file ends before the data of its tensors, which begin at the next multiple of 64 after "
      "byte 98");
  CHECK(fault_of(file_of(1, 1, text("general.alignment") + u32(4) + u32(48) + f32, data)) ==
        "general.alignment is a power of two, not 48");
  CHECK(fault_of(file_of(1, 1, text("general.alignment") + u32(10) + u64(32) + f32, data)) ==
        "general.alignment is a UINT32, not UINT64");

  std::string nested;
  for (int depth = 0; depth < 100'000; ++depth) {
    nested += u32(9) + u64(1);
  }
  CHECK(fault_of(file_of(0, 1, text("k") + u32(9) + nested, "")) ==
        "metadata \"k\": arrays nested at most 8 deep");
  // Tensors without entries take no place.
  CHECK(fault_of(file_of(2, 0, f32 + tensor("y", {0, 4}, 0, 32), data)) == "");
}

TEST_CASE("GGUF: every cut of a file is refused, and no flipped byte does harm") {
  const temporary_directory directory;
  gguf::writer writer;
  writer.metadata().set("general.architecture", "llama");
  writer.metadata().set("b", true);
  writer.metadata().set("texts", std::vector<std::string>{"a", "", "bc"});
  writer.metadata().set("numbers", std::span<const float>(std::vector<float>{1, 2, 3}));
  writer.add<float>("x", {2, 32}, numbers(64, 3));
  writer.add<float>("y", {2, 32}, numbers(64, 4), tensor_type::Q8_0);
  writer.write(directory / "a.gguf");
  std::string file = scratch::read_file(directory / "a.gguf");
  CHECK(fault_of(file) == "");
  const std::size_t data_end = file.size() - 32 + (68 % 32);  // Q8_0's 68 bytes, then padding
  for (std::size_t length = 0; length < data_end; ++length) {
    CHECK_MESSAGE(fault_of(file.substr(0, length)) != "", length);
  }
  int refused = 0;
  for (std::size_t i = 0; i < file.size() - 68; ++i) {
    for (const int bit : {0, 3, 7}) {
      file[i] = char(file[i] ^ (1 << bit));
      refused += fault_of(file) != "";
      file[i] = char(file[i] ^ (1 << bit));
    }
  }
  CHECK(refused > 300);
}
