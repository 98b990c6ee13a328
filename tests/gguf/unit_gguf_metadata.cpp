// GGUF metadata: every type there and back, what a C++ type takes, which keys were read; and the names
// of tensors.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <preheat/gguf/gguf.hpp>
#include <string>
#include <vector>

#include "support/refusal.hpp"
#include "support/scratch.hpp"

namespace {

namespace gguf = preheat::gguf;
using conformance::refusal;

// The text of an io_error, or a note that there was none.
template <class F>
std::string fault(F f) {
  try {
    f();
  } catch (const preheat::io_error& error) {
    return error.what();
  }
  return "(no error)";
}

// A file with the metadata that `fill` sets.
template <class F>
gguf::reader written(const scratch::temporary_directory& directory, F fill) {
  gguf::writer writer;
  fill(writer.metadata());
  writer.write(directory / "m.gguf");
  return gguf::reader(directory / "m.gguf");
}

}  // namespace

TEST_CASE_TEMPLATE("GGUF metadata: numbers come back, alone and in arrays", T, std::uint8_t,
                   std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t,
                   std::uint64_t, std::int64_t, float, double, bool) {
  using limits = std::numeric_limits<T>;
  const scratch::temporary_directory directory;
  const T lowest = limits::lowest();
  const T highest = limits::max();
  std::vector<T> values{lowest, highest, T(1)};
  const gguf::reader file = written(directory, [&](gguf::metadata_writer& m) {
    m.set("low", lowest);
    m.set("high", highest);
    if constexpr (!std::same_as<T, bool>) {
      m.set("all", std::span<const T>(values));
      m.set("none", std::span<const T>());
    }
  });
  auto metadata = file.read_metadata();
  CHECK(file.metadata().at("low").type == gguf::value_type_of<T>());
  CHECK(metadata.get<T>("low") == lowest);
  CHECK(metadata.get<T>("high") == highest);
  if constexpr (!std::same_as<T, bool>) {
    CHECK(metadata.get<std::vector<T>>("all") == values);
    CHECK(metadata.get<std::vector<T>>("none").empty());
    CHECK(metadata.get<double>("high") == double(highest));
  }
  CHECK(metadata.unread().empty());
}

TEST_CASE("GGUF metadata: a type takes what it holds exactly, and nothing else") {
  const scratch::temporary_directory directory;
  const gguf::reader file = written(directory, [](gguf::metadata_writer& m) {
    m.set("small", std::uint8_t{200});
    m.set("minus", std::int32_t{-1});
    m.set("large", std::numeric_limits<std::uint64_t>::max());
    m.set("half", 0.5F);
    m.set("two", 2.0);
    m.set("flag", false);
    m.set("text", std::string_view("a\0b", 3));
    m.set("texts", std::vector<std::string>{"x", "", "y\xFF"});
    m.set("numbers", std::span<const std::int32_t>(std::vector<std::int32_t>{1, -1}));
  });
  auto m = file.read_metadata();
  CHECK(m.get<preheat::index_t>("small") == 200);
  CHECK(m.get<std::int16_t>("small") == 200);
  CHECK(m.get<std::uint32_t>("two") == 2);
  CHECK(m.get<float>("minus") == -1.0F);
  CHECK(m.get<std::string>("text") == std::string("a\0b", 3));
  CHECK(m.get<std::vector<std::string_view>>("texts")[2] == "y\xFF");
  CHECK(m.get_or("nothing", 3.5) == 3.5);
  CHECK_FALSE(m.find<bool>("nothing").has_value());
  const std::string where = "preheat: " + file.source() + ": metadata ";
  CHECK(fault([&] { m.get<std::int8_t>("small"); }) ==
        where + "\"small\": a signed integer of 8 bits is needed, it is UINT8 200");
  CHECK(fault([&] { m.get<std::uint64_t>("minus"); }) ==
        where + "\"minus\": an unsigned integer of 64 bits is needed, it is INT32 -1");
  CHECK(fault([&] { m.get<std::int64_t>("large"); }) ==
        where +
            "\"large\": a signed integer of 64 bits is needed, it is UINT64 18446744073709551615");
  CHECK(fault([&] { m.get<std::int64_t>("half"); }) ==
        where + "\"half\": a signed integer of 64 bits is needed, it is FLOAT32 0.5");
  CHECK(fault([&] { m.get<bool>("small"); }) ==
        where + "\"small\": a BOOL is needed, it is UINT8 200");
  CHECK(fault([&] { m.get<int>("flag"); }) ==
        where + "\"flag\": a signed integer of 32 bits is needed, it is BOOL false");
  CHECK(fault([&] { m.get<double>("text"); }) ==
        where + "\"text\": a number is needed, it is STRING \"a\\u0000b\"");
  CHECK(fault([&] { m.get<std::string>("texts"); }) ==
        where + "\"texts\": a STRING is needed, it is an array of 3 STRING");
  CHECK(fault([&] { m.get<std::vector<std::uint8_t>>("numbers"); }) ==
        where +
            "\"numbers\": an array, each item an unsigned integer of 8 bits is needed, it is an "
            "array of 2 INT32");
  CHECK(fault([&] { m.get<int>("smal"); })
            .find("\"smal\": it is missing; it has 9 keys, the "
                  "closest are \"small\"") != std::string::npos);
}

TEST_CASE("GGUF metadata: keys that nobody read are named") {
  const scratch::temporary_directory directory;
  const gguf::reader file = written(directory, [](gguf::metadata_writer& m) {
    m.set("llama.block_count", std::uint32_t{2});
    m.set("llama.rope.scaling.type", "yarn");
    m.set("tokenizer.ggml.model", "gpt2");
    m.set("tokenizer.ggml.pre", "gpt-2");
    m.set("tokenizes", true);
  });
  auto m = file.read_metadata();
  CHECK(m.get<int>("llama.block_count") == 2);
  m.ignore("tokenizer.");
  CHECK(m.unread() == std::vector<std::string>{"llama.rope.scaling.type", "tokenizes"});
  CHECK(fault([&] { m.require_all_read(); }) ==
        "preheat: " + file.source() +
            ": metadata that is not understood: \"llama.rope.scaling.type\" = STRING \"yarn\", "
            "\"tokenizes\" = BOOL true");
  CHECK(m.get<bool>("tokenizes"));
  CHECK(m.get_or<std::string>("llama.rope.scaling.type", "none") == "yarn");
  m.require_all_read();
  CHECK(m.unread().empty());
}

TEST_CASE("GGUF metadata: a writer copies values, replaces them, and keeps the alignment") {
  const scratch::temporary_directory directory;
  gguf::writer writer;
  writer.metadata().set("b", std::uint32_t{1});
  writer.metadata().set("a", std::vector<std::string>{"x"});
  writer.metadata().set("general.alignment", std::uint32_t{128});
  writer.metadata().set("b", 2.5);
  const std::vector<float> x{1, 2, 3};
  writer.add<float>("x", {3}, x);
  writer.add<float>("y", {3}, x);
  writer.write(directory / "one.gguf");
  const gguf::reader one(directory / "one.gguf");
  CHECK(one.alignment() == 128);
  CHECK(one.metadata().size() == 3);
  CHECK(one.read_metadata().get<double>("b") == 2.5);
  CHECK(one.info("y").bytes.data() - one.info("x").bytes.data() == 128);
  CHECK(one.values<float>("y") == x);

  gguf::writer other;
  for (const auto& [key, value] : one.metadata()) {
    other.metadata().set(key, value);
  }
  other.write(directory / "two.gguf");
  const gguf::reader two(directory / "two.gguf");
  CHECK(two.alignment() == 128);
  CHECK(two.read_metadata().get<std::vector<std::string>>("a") == std::vector<std::string>{"x"});

  gguf::metadata_writer m;
  CHECK(refusal([&] { m.set("general.alignment", std::uint32_t{24}); }) ==
        "preheat: metadata \"general.alignment\": a UINT32 and a power of two");
  CHECK(refusal([&] { m.set("general.alignment", std::uint64_t{32}); }) ==
        "preheat: metadata \"general.alignment\": a UINT32 and a power of two");
  CHECK(refusal([&] { m.set("", true); }).find("bytes of a key >= 1") != std::string::npos);
}

TEST_CASE("GGUF: names of tensors, both ways") {
  const auto hf = [](const char* arch, const char* name) {
    return gguf::hugging_face_name(arch, name).value_or("none");
  };
  const auto back = [](const char* arch, const char* name) {
    return gguf::gguf_name(arch, name).value_or("none");
  };
  CHECK(hf("llama", "blk.17.attn_q.weight") == "model.layers.17.self_attn.q_proj.weight");
  CHECK(hf("qwen2", "blk.0.attn_k.bias") == "model.layers.0.self_attn.k_proj.bias");
  CHECK(hf("qwen3", "blk.3.attn_q_norm.weight") == "model.layers.3.self_attn.q_norm.weight");
  CHECK(hf("llama", "output_norm.weight") == "model.norm.weight");
  CHECK(hf("gpt2", "blk.5.ffn_down.bias") == "transformer.h.5.mlp.c_proj.bias");
  CHECK(back("llama", "lm_head.weight") == "output.weight");
  CHECK(back("gpt2", "transformer.h.11.ln_2.bias") == "blk.11.ffn_norm.bias");
  for (const char* const arch : {"llama", "gpt2"}) {
    for (const gguf::name_pair& pair : gguf::tensor_names(arch)) {
      std::string name(pair.gguf);
      if (name.find('#') != std::string::npos) {
        name.replace(name.find('#'), 1, "12");
      }
      name += ".weight";
      const std::string other = hf(arch, name.c_str());
      CHECK(other.find('#') == std::string::npos);
      CHECK(back(arch, other.c_str()) == name);
    }
  }
  for (const char* const name : {"blk.x.attn_q.weight", "blk..attn_q.weight", "blk.1.attn_q",
                                 "blk.1.attn_qq.weight", "rope_freqs.weight", "weight", ""}) {
    CHECK(hf("llama", name) == "none");
  }
  CHECK(refusal([] { gguf::tensor_names("mamba"); }) ==
        "preheat: the architecture \"mamba\" is not known; llama, qwen2, qwen3 and gpt2 are");
}
