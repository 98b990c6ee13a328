// Adapters from one format to another: GGUF files against those of the gguf package, LoKr and Tucker, names.
#include <preheat/gguf/reader.hpp>

#include "cases.hpp"

using namespace cases;
using apps::adapter::convert_options;
using doctest::Contains;
using style = convert_options::style;

namespace {

fs::path golden(const std::string& name) {
  return fs::path(PREHEAT_GOLDEN_DIR_DEFAULT) / name;
}

fs::path converted(const fs::path& adapter, const fs::path& out, convert_options o) {
  o.adapter = adapter;
  o.out = out;
  apps::adapter::convert(o);
  return out;
}

}  // namespace

TEST_CASE("convert: GGUF adapters are, to the bit, those of the gguf package, and come back") {
  const scratch::temporary_directory d;
  struct pair {
    fs::path file;
    fs::path folder;
    fs::path base;
  };
  std::vector<pair> pairs = {
      {golden("gguf/model/lora.gguf"), golden("gguf/model/adapter"), golden("gguf/model/hf")}};
  for (const auto& entry : fs::directory_iterator(golden("gguf/twins"))) {
    const std::string stem = entry.path().stem().string();
    if (stem.ends_with("_lora")) {
      const std::string name = "llama/" + stem.substr(0, stem.size() - 5);
      pairs.push_back({entry.path(), golden(name + "/adapter"), golden(name + "/base")});
    }
  }
  int checked = 0;
  for (const pair& p : pairs) {
    CAPTURE(p.file.string());
    const std::string name = std::to_string(++checked);
    const peft::reader original(p.folder);
    convert_options o;
    o.base = p.base;
    const bool embeddings = std::ranges::any_of(
        original.layers(), [](const peft::adapter_layer& l) { return l.embedding; });
    if (embeddings) {
      CHECK_THROWS_WITH(converted(p.file, d / name, o), Contains("an embedding"));
      o.to = style::gguf;
      CHECK_THROWS_WITH(converted(p.folder, d / (name + ".gguf"), o),
                        Contains("only PEFT's format"));
      continue;
    }
    const peft::reader back(converted(p.file, d / name, o));
    CHECK(back.layers().size() == original.layers().size());
    for (const peft::adapter_layer& l : back.layers()) {
      CAPTURE(l.module);
      CHECK(distance(delta(back, l.module), delta(original, l.module)) < 1e-7);
    }
    o.to = style::gguf;
    const preheat::gguf::reader ours(converted(p.folder, d / (name + ".gguf"), o));
    const preheat::gguf::reader theirs(p.file);
    CHECK(ours.tensors().size() == theirs.tensors().size());
    for (const auto& entry : theirs.tensors()) {
      CAPTURE(entry.first);
      CHECK(std::ranges::equal(ours.info(entry.first).bytes, entry.second.bytes));
    }
  }
  CHECK(checked >= 2);
}

TEST_CASE("convert: LoKr and Tucker's convolutions are exact") {
  const scratch::temporary_directory d;
  const std::string k = "lora_unet_conv.";
  // LoKr: a whole 2×3 matrix and factors of a 4×(5·9) one.
  const matrix w1 = random(2, 3, 1);
  const matrix a = random(4, 2, 2);
  const matrix b = random(2, 45, 3);
  convert_options o;
  o.to = style::kohya;
  const peft::reader lokr(converted(
      save(d / "lokr.safetensors", {{k + "lokr_w1", w1},
                                    {k + "lokr_w2_a", a},
                                    {k + "lokr_w2_b", {b, std::vector<index_t>{2, 5, 3, 3}}},
                                    {k + "alpha", number(1)}}),
      d / "a.safetensors", o));
  const matrix w2 = a * b;
  matrix right(8, 3 * 45);
  for (index_t i = 0; i < right.rows(); ++i) {
    for (index_t j = 0; j < right.cols(); ++j) {
      right(i, j) = 0.5 * w1(i / 4, j / 45) * w2(i % 4, j % 45);
    }
  }
  CHECK(distance(delta(lokr, "lora_unet_conv"), right) < 1e-6);
  CHECK(lokr.files().info(lokr.layers()[0].A).shape == std::vector<index_t>{4, 15, 3, 3});
  // Tucker: up·mid·down.
  const matrix up = random(6, 2, 4);
  const matrix mid = random(2, 2 * 9, 5);
  const matrix down = random(2, 5, 6);
  const peft::reader tucker(
      converted(save(d / "cp.safetensors",
                     {{k + "lora_up.weight", {up, std::vector<index_t>{6, 2, 1, 1}}},
                      {k + "lora_mid.weight", {mid, std::vector<index_t>{2, 2, 3, 3}}},
                      {k + "lora_down.weight", {down, std::vector<index_t>{2, 5, 1, 1}}},
                      {k + "alpha", number(2)}}),
                d / "b.safetensors", o));
  matrix whole = matrix::Zero(6, 45);
  for (index_t i = 0; i < 6; ++i) {
    for (index_t c = 0; c < 5; ++c) {
      for (index_t e = 0; e < 9; ++e) {
        for (index_t p = 0; p < 2; ++p) {
          for (index_t q = 0; q < 2; ++q) {
            whole(i, c * 9 + e) += up(i, p) * mid(p, q * 9 + e) * down(q, c);
          }
        }
      }
    }
  }
  CHECK(distance(delta(tucker, "lora_unet_conv"), whole) < 1e-6);
}

TEST_CASE("convert: what a format cannot hold, and names that nobody can tell, are refused") {
  const scratch::temporary_directory d;
  tensors all;
  add_lora(all, "model.layers.0.q_proj", 16, 16, 1);
  const fs::path lora = folder(d / "a", {}, all);
  convert_options to_kohya;
  to_kohya.to = style::kohya;
  const fs::path kohya = converted(lora, d / "k.safetensors", to_kohya);
  CHECK(peft::reader(kohya).layers()[0].module == "lora_unet_model_layers_0_q_proj");
  CHECK_THROWS_WITH(
      converted(kohya, d / "b", with<convert_options>([](auto& o) { o.to = style::peft; })),
      Contains("--base"));
  all.insert_or_assign(prefix + "classifier.weight", random(3, 16, 5));
  CHECK_THROWS_WITH(converted(folder(d / "c", {}, all), d / "x.safetensors", to_kohya),
                    Contains("classifier"));
  all.insert_or_assign(prefix + "model.layers.0.q_proj.lora_magnitude_vector",
                       tensor(random(16, 1, 6), std::vector<index_t>{16}));
  CHECK_THROWS_WITH(converted(folder(d / "d", {{"use_dora", true}}, all), d / "x", {}),
                    Contains("--base"));
  CHECK_THROWS_WITH(
      converted(lora, d / "x.gguf", with<convert_options>([](auto& o) { o.to = style::gguf; })),
      Contains("--architecture"));
}
