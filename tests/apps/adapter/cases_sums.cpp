// Scales, sums and starts of adapters as people have them: the scale is wherever a file says it, the config of a sum
// lets PEFT load every module, and nothing is scaled, dropped or copied without a word.
#include "cases.hpp"

using namespace cases;
using apps::adapter::hrp_options;
using apps::adapter::init_options;
using apps::adapter::reduce_options;
using doctest::Contains;

namespace {

const std::string q = "model.layers.0.self_attn.q_proj";

std::map<std::string, std::string> diffusers(const json& fields) {
  return {{"format", "pt"}, {"lora_adapter_metadata", fields.dump()}};
}

double best_error(const matrix& M, index_t rank) {
  const Eigen::VectorXd s = Eigen::JacobiSVD<Eigen::MatrixXd>(M).singularValues();
  return s.tail(s.size() - rank).norm();
}

}  // namespace

TEST_CASE("scale: an adapter's file without its folder has the config beside it") {
  const scratch::temporary_directory d;
  tensors all;
  const auto [A, B] = add_lora(all, q, 16, 16, 1);
  folder(d / "a", {{"lora_alpha", 32}}, all);
  const fs::path file = d / "a" / "adapter_model.safetensors";
  CHECK(peft::reader(file).find(q)->scaling == 8);
  const peft::reader small(reduced({file}, d / "r.safetensors", 4));
  CHECK_FALSE(small.is_folder());
  CHECK(distance(delta(small, q), 8 * B * A) < 1e-5);
}

TEST_CASE(
    "scale: the header of a file says it, with a part's name or flat, and states the result's "
    "afterwards") {
  const scratch::temporary_directory d;
  const matrix A = random(8, 24, 1);
  const matrix B = random(20, 8, 2);
  const std::string k = "transformer.blocks.0.to_q";
  const tensors all = {{k + ".lora_A.weight", A}, {k + ".lora_B.weight", B}};
  const std::vector<std::map<std::string, std::string>> headers = {
      diffusers({{"transformer.r", 8}, {"transformer.lora_alpha", 16}}),
      diffusers({{"r", 1}, {"lora_alpha", 16}, {"rank_pattern", {{"to_q", 8}}}}),
      {{"lora_alpha", "16"}, {"r", "8"}},
      {{"transformer.lora_alpha", "16.0"}},
      {{"ss_network_alpha", "16"}, {"ss_network_dim", "8"}, {"sshs_model_hash", "old"}}};
  for (std::size_t i = 0; i < headers.size(); ++i) {
    CAPTURE(i);
    const fs::path file = save(d / (std::to_string(i) + ".safetensors"), all, headers[i]);
    CHECK(peft::reader(file).find(k)->scaling == 2);
    const peft::reader small(reduced({file}, d / (std::to_string(i) + "-small.safetensors"), 3));
    CHECK((delta(small, k) - 2 * B * A).norm() < 1.0001 * best_error(2 * B * A, 3));
    const auto& metadata = small.files().metadata();
    CHECK_FALSE(metadata.contains("sshs_model_hash"));
    for (const auto& [key, text] : metadata) {
      if (key == "r" || key == "lora_alpha" || key == "ss_network_dim" ||
          key == "ss_network_alpha") {
        CHECK(text == "3");
      }
    }
    if (i == 0) {
      CHECK(json::parse(metadata.at("lora_adapter_metadata"))["transformer.r"] == 3);
    }
  }
}

TEST_CASE("scale: two sources that disagree are refused") {
  const scratch::temporary_directory d;
  const matrix A = random(8, 24, 1);
  const matrix B = random(20, 8, 2);
  tensors all = {{"x.lora_A.weight", A}, {"x.lora_B.weight", B}, {"x.alpha", number(8)}};
  CHECK_THROWS_WITH(peft::reader(save(d / "a.safetensors", all, {{"lora_alpha", "16"}})),
                    Contains("two scales"));
  CHECK(peft::reader(save(d / "b.safetensors", all, {{"lora_alpha", "8"}})).find("x")->scaling ==
        1);
  CHECK_THROWS_WITH(peft::reader(save(d / "c.safetensors", all, {{"lora_alpha", "much"}})),
                    Contains("lora_alpha"));
  CHECK_THROWS_WITH(
      peft::reader(save(d / "e.safetensors", all, diffusers({{"r", 4}, {"lora_alpha", 4}}))),
      Contains("rank is 8"));
  CHECK_THROWS_WITH(peft::reader(folder(d / "null", {{"lora_alpha", nullptr}}, all)),
                    Contains("lora_alpha"));
}

TEST_CASE("names: raw checkpoints have the adapter's name in them, which goes") {
  const scratch::temporary_directory d;
  for (const std::string name : {"default", "lora_adapter"}) {
    const matrix A = random(4, 16, 1);
    const matrix B = random(16, 4, 2);
    const fs::path in = folder(d / name, {},
                               {{prefix + q + ".lora_A." + name + ".weight", A},
                                {prefix + q + ".lora_B." + name + ".weight", B}});
    const peft::reader out(reduced({in}, d / (name + "-out"), 4));
    CHECK(distance(delta(out, q), 2 * B * A) < 1e-5);
    CHECK(out.files().contains(prefix + q + ".lora_A.weight"));
  }
}

TEST_CASE("sums: PEFT loads every module of the result") {
  const scratch::temporary_directory d;
  tensors one;
  tensors two;
  add_lora(one, q, 16, 16, 1);
  add_lora(two, q, 16, 16, 2);
  add_lora(two, "model.layers.1.self_attn.v_proj", 16, 16, 3);
  two.insert_or_assign(prefix + "model.embed_tokens.token_adapter.trainable_tokens_delta",
                       random(2, 16, 4));
  two.insert_or_assign(prefix + "classifier.weight", random(3, 16, 5));
  two.insert_or_assign(prefix + q + ".lora_B.bias",
                       tensor(random(16, 1, 6), std::vector<index_t>{16}));
  const fs::path a = folder(
      d / "a",
      {{"exclude_modules", {"v_proj"}}, {"layers_to_transform", {0}}, {"layers_pattern", "layers"}},
      one);
  const fs::path b = folder(d / "b",
                            {{"trainable_token_indices", {5, 7}},
                             {"modules_to_save", {"classifier"}},
                             {"lora_bias", true}},
                            two);
  for (const auto& [order, name] : {std::pair(std::vector<fs::path>{a, b}, "ab"),
                                    std::pair(std::vector<fs::path>{b, a}, "ba")}) {
    const peft::reader sum(reduced(order, d / name, 8));
    const json c = sum.config().fields();
    CHECK((!c.contains("exclude_modules") || c["exclude_modules"].is_null()));
    CHECK((!c.contains("layers_to_transform") || c["layers_to_transform"].is_null()));
    CHECK(c["trainable_token_indices"] == json({5, 7}));
    CHECK(c["modules_to_save"] == json({"classifier"}));
    CHECK(c["lora_bias"] == true);
    CHECK(sum.layers().size() == 2);
    for (const peft::adapter_layer& l : sum.layers()) {
      CHECK_FALSE(l.bias.empty());  // of every layer, as PEFT needs it
    }
  }
  const fs::path other = folder(d / "c", {{"trainable_token_indices", {6}}}, one);
  CHECK_THROWS_WITH(reduced({b, other}, d / "bc", 4), Contains("trainable_token_indices"));
}

TEST_CASE("sums: weights scale all differences and refuse whole tensors") {
  const scratch::temporary_directory d;
  const matrix diff = random(20, 1, 3);
  const tensors file = {{"x.lora_down.weight", random(4, 16, 1)},
                        {"x.lora_up.weight", random(20, 4, 2)},
                        {"x.diff_b", {diff, std::vector<index_t>{20}}}};
  const fs::path in = save(d / "x.safetensors", file);
  reduced({in}, d / "half.safetensors", 4,
          with<reduce_options>([](auto& o) { o.weights = {0.5}; }));
  CHECK(distance(read(d / "half.safetensors", "x.diff_b"), 0.5 * diff) < 1e-6);
  reduced({in, in}, d / "sum.safetensors", 4, with<reduce_options>([](auto& o) {
            o.weights = {1, -3};
          }));
  CHECK(distance(read(d / "sum.safetensors", "x.diff_b"), -2 * diff) < 1e-6);
  tensors all;
  add_lora(all, q, 16, 16, 1);
  all.insert_or_assign(prefix + "classifier.weight", random(3, 16, 5));
  const fs::path saved = folder(d / "a", {{"modules_to_save", {"classifier"}}}, all);
  CHECK_THROWS_WITH(
      reduced({saved}, d / "b", 4, with<reduce_options>([](auto& o) { o.weights = {0.5}; })),
      Contains("classifier"));
  reduced({saved}, d / "b", 4);
  CHECK(distance(read(d / "b" / "adapter_model.safetensors", prefix + "classifier.weight"),
                 random(3, 16, 5)) == 0);
}

TEST_CASE("numbers: NaN and empty tensors are refused wherever they stand, in a dry run too") {
  const scratch::temporary_directory d;
  int number = 0;
  for (const std::string& name : {prefix + "classifier.weight", prefix + q + ".lora_A.weight"}) {
    for (const bool empty : {false, true}) {
      CAPTURE(name);
      tensors all;
      add_lora(all, q, 16, 16, 1);
      matrix bad = random(4, 16, 2);
      bad(1, 2) = NAN;
      all.insert_or_assign(name,
                           empty ? tensor(matrix(0, 0), std::vector<index_t>{0}) : tensor(bad));
      const fs::path in = folder(d / std::to_string(number++), {}, all);
      for (const bool dry : {false, true}) {
        reduce_options o;
        o.dry_run = dry;
        const std::string error = error_of([&] { reduced({in}, d / "out", 2, o); });
        CHECK(error.find(name) != std::string::npos);
        CHECK_FALSE(fs::exists(d / "out"));
      }
    }
  }
}

TEST_CASE("numbers: a small alpha in F16 costs no more than F16's rounding, svd and cat") {
  const scratch::temporary_directory d;
  const matrix A = 0.03 * random(64, 160, 1);
  matrix B = 1e-3 * random(160, 64, 2);
  for (index_t j = 0; j < B.cols(); ++j) {
    B.col(j) /= std::sqrt(double(j + 1));
  }
  const fs::path in = save(d / "x.safetensors", {{"x.lora_down.weight", {A, dtype::F16}},
                                                 {"x.lora_up.weight", {B, dtype::F16}},
                                                 {"x.alpha", number(0.5, dtype::F16)}});
  const matrix before = delta(peft::reader(in), "x");
  CHECK(distance(delta(peft::reader(reduced({in}, d / "y.safetensors", 64)), "x"), before) < 1e-3);
  reduce_options o;
  o.type = reduce_options::kind::cat;
  CHECK(distance(delta(peft::reader(reduced({in}, d / "z.safetensors", 0, o)), "x"), before) <
        1e-3);
}

TEST_CASE("hrp: DoRA in a single file is refused as in a folder; a scale of 0 stays 0") {
  const scratch::temporary_directory d;
  tensors all = {{"x.lora_down.weight", random(8, 16, 1)}, {"x.lora_up.weight", random(20, 8, 2)}};
  hrp_options o;
  o.rank = 2;
  o.out = d / "y.safetensors";
  all.insert_or_assign("x.alpha", number(0));
  o.adapter = save(d / "zero.safetensors", all);
  apps::adapter::hrp(o);
  CHECK(peft::reader(o.out).find("x")->scaling == 0);
  CHECK(read(o.out, "x.lora_down.weight").allFinite());
  all.insert_or_assign("x.dora_scale", random(20, 1, 3));
  o.adapter = save(d / "dora.safetensors", all);
  o.out = d / "z.safetensors";
  CHECK_THROWS_WITH(apps::adapter::hrp(o), Contains("DoRA"));
  all.insert_or_assign("x.lora_up.weight", random(16, 8, 2));
  all.insert_or_assign("x.dora_scale", random(1, 16, 3));  // along the inputs of a square matrix
  CHECK_THROWS_WITH(peft::reader(save(d / "inputs.safetensors", all)), Contains("dora_scale"));
}

TEST_CASE("init: embeddings are refused, Conv1D is started in its own layout") {
  const scratch::temporary_directory d;
  const std::string c = "transformer.h.0.attn.c_attn";
  save(d / "base" / "model.safetensors",
       {{c + ".weight", random(16, 48, 1)}, {"transformer.wte.weight", random(40, 16, 2)}});
  scratch::write_file(d / "base" / "config.json", R"({"model_type": "gpt2"})");
  init_options o;
  o.base = d / "base";
  o.rank = 4;
  o.out = d / "a";
  o.targets = ".*";
  CHECK_THROWS_WITH(apps::adapter::init(o), Contains("wte"));
  o.targets = ".*c_attn";
  o.residual = d / "residual.safetensors";
  apps::adapter::init(o);
  const peft::reader start(o.out);
  CHECK(start.find(c)->out == 48);
  CHECK(start.config().fan_in_fan_out());
  CHECK(distance(read(o.residual, c + ".weight") + delta(start, c).transpose(), random(16, 48, 1)) <
        1e-5);
}

TEST_CASE("combine: blocks are weighted and left out; density keeps a part") {
  const scratch::temporary_directory d;
  tensors all;
  for (int i = 0; i < 4; ++i) {
    add_lora(all, "model.layers." + std::to_string(i) + ".q_proj", 16, 16, std::uint64_t(i));
  }
  const fs::path in = folder(d / "a", {}, all);
  reduced({in}, d / "b", 4, with<reduce_options>([](auto& o) { o.layers = {"0-1=0.5", "3=0"}; }));
  const peft::reader before(in);
  const peft::reader after(d / "b");
  CHECK(after.layers().size() == 3);
  CHECK(distance(delta(after, "model.layers.1.q_proj"),
                 0.5 * delta(before, "model.layers.1.q_proj")) < 1e-5);
  CHECK(distance(delta(after, "model.layers.2.q_proj"), delta(before, "model.layers.2.q_proj")) <
        1e-5);
  CHECK_THROWS_WITH(
      reduced({in}, d / "c", 4, with<reduce_options>([](auto& o) { o.layers = {"0:1"}; })),
      Contains("--layers"));
  CHECK_THROWS_WITH(reduced({in}, d / "c", 0, with<reduce_options>([](auto& o) {
                              o.type = reduce_options::kind::ties;
                            })),
                    Contains("--density"));
}
