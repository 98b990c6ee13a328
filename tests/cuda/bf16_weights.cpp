// Frozen weights in bfloat16 on cuda<float, cuda_bf16>: a product's error is what rounding both factors to
// 8 bits allows, runs follow those of the CPU with the rounded weights, and what writes to W is refused.
#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <preheat/cuda/bf16.hpp>
#include <preheat/gguf/decoder.hpp>
#include <preheat/methods.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/storage/store_weights.hpp>
#include <preheat/train/fit.hpp>

#include "support/backends.hpp"
#include "support/refusal.hpp"
#include "support/small_decoder.hpp"
#include "support/stored.hpp"
#include "support/toy_task.hpp"

using namespace conformance;
using namespace preheat;
using namespace preheat::gguf::detail;

namespace {

using Be = cuda_in_shared_context<float, cuda_bf16>;
static_assert(weight_storing_backend<Be> && !weight_storing_backend<cuda<float>>);
static_assert(std::is_same_v<weight_of<cuda<float>>, cuda_matrix<float>>);

constexpr double unit = 0x1p-8;  // of rounding to bfloat16, relative

table magnitudes(table a) {
  for (double& x : a.values) {
    x = std::abs(x);
  }
  return a;
}

// W·X and Wᵀ·X with so many columns are right to `of_entries`, the relative error of the entries' products, and to sums in Be.
void check_products(Be& be, const weight_view<Be>& seen, const table& w, index_t columns,
                    double of_entries) {
  for (const transpose t : {transpose::no, transpose::yes}) {
    const table op = t == transpose::no ? w : transposed(w);
    const table x = random_table(op.cols, columns, 9);
    auto Y = be.zeros(op.rows, columns);
    be.gemm(1, t, seen, transpose::no, matrix(be, x), 0, Y);
    const table error = magnitudes(read<Be>(be, Y) - op * x);
    const table bound =
        (of_entries + double(op.cols) * epsilon<Be>)*(magnitudes(op) * magnitudes(x));
    for (std::size_t k = 0; k < bound.values.size(); ++k) {
      CHECK(error.values[k] <= bound.values[k]);
    }
  }
}

// Whole blocks of any bits, but for scales and offsets that are finite and small: their float16's upper byte is 0x2c, so
// that they are in [1/16, 1/8).
template <class Block>
std::vector<Block> random_blocks(index_t count) {
  std::vector<Block> blocks(static_cast<std::size_t>(count));
  generator stream(17);
  for (Block& block : blocks) {
    std::array<std::uint8_t, sizeof(Block)> bytes;
    for (std::uint8_t& byte : bytes) {
      byte = std::uint8_t(stream());
    }
    block = std::bit_cast<Block>(bytes);
    block.scale.bytes[1] = 0x2c;
    if constexpr (requires { block.least; }) {
      block.least.bytes[1] = 0x2c;
    } else if constexpr (requires { block.offset; }) {
      block.offset.bytes[1] = 0x2c;
    }
  }
  return blocks;
}

// Of a run of LoRA on the small text.
template <class Net>
std::vector<double> losses_of(Net& net) {
  using B = typename Net::backend_type;
  struct {
    nn::causal_batch<B> batch = small_text<B>();
    void load(const generator&, index_t, nn::causal_batch<B>& to) const { to = batch; }
  } data;
  return fit(lora{.optim = {.lr = 0.01}}, net, data, {.rank = 2, .steps = 8}).losses;
}

}  // namespace

TEST_CASE("bf16 weights: W is the nearest in 8 bits, in half the memory") {
  Be be;
  const table w = random_table(37, 53, 1);
  frozen_weight<Be> W(be.store(matrix(be, w)));
  CHECK(W.is_stored());
  CHECK(W.stored().type_name() == "BF16");
  CHECK(W.bytes() == 37 * 53 * 2);
  weight_room<Be> room;
  const table rounded = read<Be>(be, weight_view<Be>(be, W, room));
  for (std::size_t k = 0; k < w.values.size(); ++k) {
    CHECK(std::abs(rounded.values[k] - w.values[k]) <= unit * std::abs(w.values[k]));
  }
  CHECK(gap(rounded, w) > 0);
  frozen_weight<Be> copy = clone(be, W);
  copy.make_dense(be);
  CHECK(same(read<Be>(be, copy), rounded));
  CHECK(refusal([&] { be.fill(0, W); }).find("kept as stored (BF16, 37x53)") != std::string::npos);
}

TEST_CASE("bf16 weights: a product's error is what rounding W and X allows") {
  Be be;
  for (const index_t n : {1, 7, 300}) {
    const index_t m = 45;
    const table w = random_table(m, n, 2);
    const frozen_weight<Be> W(be.store(matrix(be, w)));
    weight_room<Be> room;
    for (const weight_view<Be>& seen : {weight_view<Be>(be, W, room), weight_view<Be>(W)}) {
      for (const transpose t : {transpose::no, transpose::yes}) {
        const table op = t == transpose::no ? w : transposed(w);
        for (const transpose tx : {transpose::no, transpose::yes}) {
          const table x = random_table(op.cols, 5, 3);
          const table y = random_table(op.rows, 5, 4);
          const auto X = matrix(be, tx == transpose::no ? x : transposed(x));
          auto Y = matrix(be, y);
          be.gemm(2, t, seen, tx, X, -0.5F, Y);
          const table error = magnitudes(read<Be>(be, Y) - (2.0 * (op * x) - 0.5 * y));
          // Σ|w·x|·(2u + u²) of the factors, and of sums in float
          const table bound = 2 * ((2 + unit) * unit +
                                   double(op.cols) * epsilon<Be>)*(magnitudes(op) * magnitudes(x)) +
                              4 * epsilon<Be> * magnitudes(y);
          for (std::size_t k = 0; k < bound.values.size(); ++k) {
            CHECK(error.values[k] <= bound.values[k]);
          }
          CHECK((n == 1 || largest(error) > 1e-4));  // it is not a product in float
        }
      }
    }
  }
}

TEST_CASE("NF4 weights: codes stay on the device, and products expand them to bf16") {
  Be be;
  for (const index_t n : {1, 7, 300}) {  // rows that end inside a byte and a block
    CAPTURE(n);
    const table w = float_table(45, n, 8);
    const auto rows = std::make_shared<const storage::nf4_rows>(stored(w));
    std::vector<float> scales;
    frozen_weight<Be> W(be.store(rows->coded(scales)));
    scales.assign(scales.size(), 0);  // the device has its own
    CHECK(W.stored().type_name() == "NF4");
    CHECK(W.rows() == 45);
    CHECK(W.cols() == n);
    CHECK(W.bytes() == std::size_t((45 * n + 1) / 2 + (45 * n + 63) / 64 * 4));
    const table q = unpacked(stored_matrix(rows));
    weight_room<Be> room;
    const weight_view<Be> seen(be, W, room);
    const table dense = read<Be>(be, seen);
    for (std::size_t k = 0; k < q.values.size(); ++k) {
      CHECK(std::abs(dense.values[k] - q.values[k]) <= unit * std::abs(q.values[k]));
    }
    check_products(be, seen, q, 5, (2 + unit) * unit);
    W.make_dense(be);
    CHECK(same(read<Be>(be, W), dense));
  }
  coded_matrix wrong{2, 3, 64, {}, {}, {}, "NF4"};
  CHECK(refusal([&] { be.store(wrong); }).find("a byte for two entries (0, 3)") !=
        std::string::npos);
}

TEST_CASE("bf16 weights: what is read is kept as the device can") {
  Be be;
  CHECK(refusal([&] {
          storage::require_keeps<cuda<float>>(weight_storage::bf16);
        }).find("in its scalar only") != std::string::npos);
  CHECK_THROWS_AS(gguf::read_decoder(be, "no file.gguf", weight_storage::nf4), io_error);
  const table w = float_table(5, 70, 6);
  const auto kept = [&](weight_storage keep) {
    frozen_weight<Be> W = storage::kept_by<Be>(
        be, keep, [&] { return matrix(be, w); },
        [&](weight_storage type) { return storage::kept_as(type, stored(w)); },
        [&](Be& device) { return device.store(matrix(be, w)); });
    CHECK(W.is_stored() == (keep != weight_storage::dense));
    W.make_dense(be);
    return read<Be>(be, W);
  };
  CHECK(same(kept(weight_storage::dense), w));
  const table rounded = unpacked(storage::kept_as(weight_storage::bf16, stored(w)));
  CHECK(same(kept(weight_storage::bf16), rounded));
  const table coded = unpacked(storage::kept_as(weight_storage::nf4, stored(w)));
  CHECK(gap(kept(weight_storage::nf4), coded) <= unit * largest(coded));
  CHECK(same(kept(weight_storage::as_stored), rounded));
}

TEST_CASE_TEMPLATE("file's blocks: the device has their bytes, and products expand them to bf16",
                   Block, q8_0_block, q4_0_block, q4_1_block, q5_0_block, q5_1_block, q4_k_block,
                   q5_k_block, q6_k_block) {
  Be be;
  const index_t rows = 5;
  const index_t cols = 3 * Block::entries;
  std::vector<Block> blocks = random_blocks<Block>(3 * rows);
  table w(rows, cols);
  for (index_t i = 0; i < rows; ++i) {
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (index_t k = 0; k < 3; ++k) {
      unpack(blocks[std::size_t(3 * i + k)], row.data() + k * Block::entries);
    }
    for (index_t j = 0; j < cols; ++j) {
      w(i, j) = double(row[std::size_t(j)]);
    }
  }
  frozen_weight<Be> W(be.store(block_matrix<Block>{rows, cols, blocks, "its type"}));
  blocks.assign(blocks.size(), Block{});  // the device has its own
  CHECK(W.is_stored());
  CHECK(W.rows() == rows);
  CHECK(W.cols() == cols);
  CHECK(W.bytes() == sizeof(Block) * 3 * 5);
  CHECK(W.stored().type_name() == "its type");
  const table rounded = unpacked(storage::kept_as(weight_storage::bf16, stored(w)));
  weight_room<Be> room;
  const weight_view<Be> seen(be, W, room);
  CHECK(same(read<Be>(be, seen), rounded));
  check_products(be, seen, rounded, 4, unit);
  CHECK(refusal([&] {
          be.store(block_matrix<Block>{rows, cols, {}, "none"});
        }).find("rows·cols / entries of a block (0, 15)") != std::string::npos);
  CHECK(refusal([&] {
          be.store(block_matrix<Block>{rows, cols - 1, {}, "odd"});
        }).find("a row is whole blocks") != std::string::npos);
}

TEST_CASE("NF4 weights: a decoder learns as on the CPU with the same codes") {
  Be be;
  cpu_float host;
  auto net = small_decoder(be, small_llama());
  auto reference = small_decoder(host, small_llama());
  storage::store_weights(net, weight_storage::nf4);
  storage::store_weights(reference, weight_storage::nf4);
  CHECK(net.layers()[0].W.stored().type_name() == "NF4");
  const auto found = losses_of(net);
  const auto expected = losses_of(reference);
  for (std::size_t k = 0; k < found.size(); ++k) {
    CHECK(std::abs(found[k] - expected[k]) < 8 * unit * expected[0]);
  }
}

TEST_CASE("bf16 weights: shapes are checked, and an empty batch is none") {
  Be be;
  const frozen_weight<Be> W(be.store(matrix(be, random_table(4, 3, 1))));
  const weight_view<Be> seen(W);
  auto X = be.zeros(3, 0);
  auto Y = be.zeros(4, 0);
  be.gemm(1, transpose::no, seen, transpose::no, X, 0, Y);
  auto five = be.zeros(5, 2);
  auto four = be.zeros(4, 2);
  CHECK(refusal([&] {
          be.gemm(1, transpose::no, seen, transpose::no, five, 0, four);
        }).find("inner dimensions") != std::string::npos);
}

namespace {

// A network whose weights are stored, and the CPU's with the same rounded weights.
template <class Net, class Reference>
void store_in_both(Be& be, Net& net, cpu_double& host, Reference& reference) {
  storage::store_weights(net, weight_storage::bf16);
  for (std::size_t l = 0; l < net.layers().size(); ++l) {
    auto rounded = clone(be, net.layers()[l].W);
    rounded.make_dense(be);
    write<cpu_double>(host, read<Be>(be, rounded), reference.layers()[l].W);
  }
}

}  // namespace

TEST_CASE("bf16 weights: a decoder learns as on the CPU, to what rounding activations allows") {
  for (const named_config& one : small_decoders()) {
    CAPTURE(one.name);
    Be be;
    cpu_double host;
    auto net = small_decoder(be, one.config);
    auto reference = small_decoder(host, one.config);
    store_in_both(be, net, host, reference);
    const auto found = losses_of(net);
    const auto expected = losses_of(reference);
    for (std::size_t k = 0; k < found.size(); ++k) {
      CHECK(std::abs(found[k] - expected[k]) < 8 * unit * expected[0]);
    }
    CHECK(found.back() < found.front());
    CHECK(net.layers()[0].W.is_stored());
  }
}

TEST_CASE("bf16 weights: an mlp learns as on the CPU, and what writes to W is refused") {
  Be be;
  toy_task<Be> task;
  toy_task<cpu_double> reference;
  store_in_both(be, task.net, reference.be, reference.net);
  const fit_options options{.rank = 3, .steps = 20, .seed = 4};
  const auto a = fit(lora{.optim = {.lr = 0.02}}, task.net, task.data, options);
  const auto b = fit(lora{.optim = {.lr = 0.02}}, reference.net, reference.data, options);
  for (std::size_t k = 0; k < a.losses.size(); ++k) {
    CHECK(std::abs(a.losses[k] - b.losses[k]) < 8 * unit * b.losses[0]);
  }
  CHECK(refusal([&] { fit(pissa{}, task.net, task.data, options); }).find("make_dense(be)") !=
        std::string::npos);
  const auto c = fit(method<adapter::dora>{}, task.net, task.data, options);
  CHECK(c.losses.back() < c.losses.front());
}
