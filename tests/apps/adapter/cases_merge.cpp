// Merges of what people have: tensors beside the factors, names and orientations that differ, folders. Every tensor of
// an adapter is used in its place, or the command refuses it by name.
#include "cases.hpp"

using namespace cases;
using apps::adapter::layout;
using apps::adapter::merge_options;
using doctest::Contains;

namespace {

const std::string q = "model.layers.0.self_attn.q_proj";

// A base of a matrix, an embedding and a head.
tensors small_base() {
  return {{q + ".weight", random(16, 16, 1)},
          {"model.embed_tokens.weight", random(40, 16, 2)},
          {"lm_head.weight", random(40, 16, 3)}};
}

}  // namespace

TEST_CASE("merge: a saved base layer and its factors give W + s·B·A") {
  const scratch::temporary_directory d;
  const tensors base = small_base();
  tensors all;
  const auto [A, B] = add_lora(all, "lm_head", 40, 16, 5);
  all.insert_or_assign(prefix + "lm_head.base_layer.weight", base.at("lm_head.weight"));
  const fs::path out =
      merged(folder(d / "a", {}, all), save(d / "base.safetensors", base), d / "m.safetensors");
  CHECK(distance(read(out, "lm_head.weight"), base.at("lm_head.weight").values + 2 * B * A) < 1e-6);
  CHECK(safetensors::tensor_files(out).tensors().size() == base.size());
}

TEST_CASE("merge: trained rows of an embedding take their place, by a list or by module") {
  const scratch::temporary_directory d;
  const tensors base = small_base();
  const fs::path file = save(d / "base.safetensors", base);
  int number = 0;
  for (const json& indices : {json({7, 38, 39}), json({{"embed_tokens", {7, 38, 39}}})}) {
    tensors all;
    add_lora(all, q, 16, 16, 5);
    const matrix rows = random(3, 16, 6);
    all.insert_or_assign(prefix + "model.embed_tokens.token_adapter.trainable_tokens_delta", rows);
    const std::string name = std::to_string(number++);
    const fs::path out = merged(folder(d / name, {{"trainable_token_indices", indices}}, all), file,
                                d / (name + ".safetensors"));
    matrix right = base.at("model.embed_tokens.weight").values;
    right.row(7) = rows.row(0);
    right.row(38) = rows.row(1);
    right.row(39) = rows.row(2);
    CHECK(distance(read(out, "model.embed_tokens.weight"), right) == 0);
    CHECK(safetensors::tensor_files(out).tensors().size() == base.size());
    CHECK(error_of([&] {
            merged(folder(d / (name + "x"), {{"trainable_token_indices", {7, 40, 1}}}, all), file,
                   d / "x.safetensors");
          }).find("0 to 39") != std::string::npos);
  }
}

TEST_CASE("merge: a tensor without a place in the base is refused, whatever its kind") {
  const scratch::temporary_directory d;
  const fs::path base = save(d / "base.safetensors",
                             {{"model.language_model.layers.0.q_proj.weight", random(16, 16, 1)},
                              {"model.language_model.embed_tokens.weight", random(40, 16, 2)}});
  int number = 0;
  for (const char* const name :
       {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.mlp.bias",
        "x.original_module.weight", "bundle_emb.a"}) {
    CAPTURE(name);
    tensors all;
    add_lora(all, "model.language_model.layers.0.q_proj", 16, 16, 5);
    all.insert_or_assign(prefix + name, random(40, 16, 3));
    const std::string error = error_of(
        [&] { merged(folder(d / std::to_string(number++), {}, all), base, d / "m.safetensors"); });
    CHECK(error.find(name) != std::string::npos);
    CHECK_FALSE(fs::exists(d / "m.safetensors"));
  }
}

TEST_CASE("merge: a NaN in the base is refused wherever it stands, in a dry run too") {
  const scratch::temporary_directory d;
  matrix bad = random(16, 16, 2);
  bad(3, 1) = NAN;
  for (const std::string& name : {q + ".weight", std::string("model.other.weight")}) {
    CAPTURE(name);
    tensors all = {{q + ".weight", random(16, 16, 1)}, {"model.other.weight", random(16, 16, 1)}};
    all.insert_or_assign(name, bad);
    const fs::path base = save(d / "base.safetensors", all);
    tensors lora;
    add_lora(lora, q, 16, 16, 5);
    const fs::path adapter = save(d / "lora.safetensors", lora);
    for (const bool dry : {false, true}) {
      const std::string error = error_of([&] {
        merged(adapter, base, d / "m.safetensors",
               with<merge_options>([&](auto& o) { o.dry_run = dry; }));
      });
      CHECK(error.find(name) != std::string::npos);
      CHECK_FALSE(fs::exists(d / "m.safetensors"));
    }
  }
}

TEST_CASE("merge: another vocabulary is refused with both shapes") {
  const scratch::temporary_directory d;
  const fs::path base = save(d / "base.safetensors", small_base());
  tensors lora;
  add_lora(lora, "lm_head", 44, 16, 5);
  CHECK_THROWS_WITH(merged(folder(d / "a", {}, lora), base, d / "m"), Contains("44×16"));
  tensors saved;
  add_lora(saved, q, 16, 16, 5);
  saved.insert_or_assign(prefix + "lm_head.weight", random(44, 16, 6));
  CHECK_THROWS_WITH(merged(folder(d / "b", {}, saved), base, d / "m"), Contains("[44, 16]"));
}

TEST_CASE("merge: full differences of weights and biases are added") {
  const scratch::temporary_directory d;
  const tensors base = {{"blocks.0.k.weight", random(20, 16, 1)},
                        {"blocks.0.k.bias", {random(20, 1, 2), std::vector<index_t>{20}}},
                        {"blocks.0.norm.weight", {random(16, 1, 3), std::vector<index_t>{16}}}};
  const matrix A = random(4, 16, 4);
  const matrix B = random(20, 4, 5);
  const matrix db = random(20, 1, 6);
  const matrix dn = random(16, 1, 7);
  const std::string k = "diffusion_model.blocks.0.";
  const fs::path lora =
      save(d / "x.safetensors", {{k + "k.lora_down.weight", A},
                                 {k + "k.lora_up.weight", B},
                                 {k + "k.alpha", number(2, dtype::BF16)},
                                 {k + "k.diff_b", {db, std::vector<index_t>{20}}},
                                 {k + "norm.diff", {dn, std::vector<index_t>{16}}}});
  const fs::path out = merged(lora, save(d / "base.safetensors", base), d / "m.safetensors",
                              with<merge_options>([](auto& o) { o.weights = {0.5}; }));
  CHECK(distance(read(out, "blocks.0.k.weight"),
                 base.at("blocks.0.k.weight").values + 0.25 * B * A) < 1e-6);
  CHECK(distance(read(out, "blocks.0.k.bias"), base.at("blocks.0.k.bias").values + 0.5 * db) <
        1e-6);
  CHECK(distance(read(out, "blocks.0.norm.weight"),
                 base.at("blocks.0.norm.weight").values + 0.5 * dn) < 1e-6);
}

TEST_CASE("merge: kohya's names, wrappers and a map find their modules") {
  const scratch::temporary_directory d;
  const matrix W = random(20, 16, 1);
  const matrix A = random(4, 16, 4);
  const matrix B = random(20, 4, 5);
  const fs::path base = save(d / "base.safetensors", {{"double_blocks.0.img_attn.proj.weight", W}});
  int number = 0;
  for (const char* const name :
       {"lora_unet_double_blocks_0_img_attn_proj", "diffusion_model.double_blocks.0.img_attn.proj",
        "transformer.double_blocks.0.img_attn.proj"}) {
    CAPTURE(name);
    const std::string n = name;
    const fs::path file = save(d / (std::to_string(number++) + ".safetensors"),
                               {{n + ".lora_down.weight", A}, {n + ".lora_up.weight", B}});
    const fs::path out = merged(file, base, d / ("m" + std::to_string(number) + ".safetensors"));
    CHECK(distance(read(out, "double_blocks.0.img_attn.proj.weight"), W + B * A) < 1e-6);
  }
  tensors all;
  const auto [PA, PB] = add_lora(all, "encoder.0.q_proj", 20, 16, 9);
  const fs::path adapter = folder(d / "a", {}, all);
  const fs::path other = save(d / "other.safetensors", {{"model.vision.0.q_proj.weight", W}});
  CHECK_THROWS_WITH(merged(adapter, other, d / "n.safetensors"),
                    Contains("--map encoder=model.vision"));
  merged(adapter, other, d / "n.safetensors",
         with<merge_options>([](auto& o) { o.map = {"encoder=model.vision"}; }));
  CHECK(distance(read(d / "n.safetensors", "model.vision.0.q_proj.weight"), W + 2 * PB * PA) <
        1e-6);
}

TEST_CASE("merge: the shapes, the kind of model or nothing say how a matrix is stored") {
  const scratch::temporary_directory d;
  const std::string c_proj = "transformer.h.0.attn.c_proj";
  const tensors weights = {{c_proj + ".weight", random(16, 16, 1)},
                           {"lm_head.weight", random(40, 16, 2)},
                           {"transformer.h.0.attn.c_attn.weight", random(16, 48, 3)}};
  tensors all;
  const auto P = add_lora(all, c_proj, 16, 16, 5);
  const auto H = add_lora(all, "lm_head", 40, 16, 6);
  const auto C = add_lora(all, "transformer.h.0.attn.c_attn", 48, 16, 7);
  const fs::path adapter = folder(d / "a", {{"fan_in_fan_out", false}}, all);
  const auto check = [&](const fs::path& out) {
    CHECK(distance(read(out, c_proj + ".weight"), weights.at(c_proj + ".weight").values +
                                                      2 * (P.second * P.first).transpose()) < 1e-6);
    CHECK(distance(read(out, "lm_head.weight"),
                   weights.at("lm_head.weight").values + 2 * H.second * H.first) < 1e-6);
    CHECK(distance(read(out, "transformer.h.0.attn.c_attn.weight"),
                   weights.at("transformer.h.0.attn.c_attn.weight").values +
                       2 * (C.second * C.first).transpose()) < 1e-6);
  };
  save(d / "base" / "model.safetensors", weights);
  scratch::write_file(d / "base" / "config.json", R"({"model_type": "gpt2"})");
  check(merged(adapter, d / "base", d / "by-config.safetensors"));
  check(merged(adapter, save(d / "alone.safetensors", weights), d / "by-sibling.safetensors"));

  tensors square;
  add_lora(square, c_proj, 16, 16, 5);
  const fs::path lonely = save(d / "lonely.safetensors", {{c_proj + ".weight", random(16, 16, 1)}});
  const fs::path one = folder(d / "square", {}, square);
  CHECK_THROWS_WITH(merged(one, lonely, d / "m.safetensors"), Contains("--layout"));
  merged(one, lonely, d / "conv.safetensors",
         with<merge_options>([](auto& o) { o.stored_as = layout::conv1d; }));
  CHECK(distance(read(d / "conv.safetensors", c_proj + ".weight"),
                 random(16, 16, 1) + 2 * (P.second * P.first).transpose()) < 1e-6);
}

TEST_CASE(
    "merge: a tied head that is trained becomes a tensor of its own, and the folder says so") {
  const scratch::temporary_directory d;
  tensors base = small_base();
  base.erase("lm_head.weight");
  save(d / "base" / "model.safetensors", base);
  scratch::write_file(
      d / "base" / "config.json",
      R"({"model_type": "llama", "tie_word_embeddings": true, "torch_dtype": "float32"})");
  scratch::write_file(d / "base" / "tokenizer.json", "{}");
  tensors all;
  add_lora(all, q, 16, 16, 5);
  const matrix head = random(40, 16, 6);
  all.insert_or_assign(prefix + "lm_head.weight", head);
  const fs::path out = merged(folder(d / "a", {}, all), d / "base", d / "merged");
  CHECK(distance(read(out, "lm_head.weight"), head) == 0);
  CHECK(distance(read(out, "model.embed_tokens.weight"),
                 base.at("model.embed_tokens.weight").values) == 0);
  CHECK(json::parse(scratch::read_file(out / "config.json"))["tie_word_embeddings"] == false);
  CHECK(scratch::read_file(out / "tokenizer.json") == "{}");
}

TEST_CASE("merge: a folder keeps shards and index, in one dtype if asked") {
  const scratch::temporary_directory d;
  const fs::path base = d / "base";
  save(base / "model-00001-of-00002.safetensors",
       {{q + ".weight", {random(16, 16, 1), dtype::BF16}}});
  save(base / "model-00002-of-00002.safetensors",
       {{"norm.weight", {random(16, 1, 2), std::vector<index_t>{16}}}});
  scratch::write_file(base / "model.safetensors.index.json",
                      json{{"metadata", {{"total_size", 1}}},
                           {"weight_map",
                            {{q + ".weight", "model-00001-of-00002.safetensors"},
                             {"norm.weight", "model-00002-of-00002.safetensors"}}}}
                          .dump());
  scratch::write_file(base / "config.json",
                      R"({"model_type": "llama", "torch_dtype": "bfloat16"})");
  tensors all;
  const auto [A, B] = add_lora(all, q, 16, 16, 5);
  merge_options o;
  o.stored = dtype::F16;
  const fs::path out = merged(folder(d / "a", {}, all), base, d / "m", o);
  const safetensors::tensor_files model(out);
  CHECK(model.file_count() == 2);
  for (const auto& entry : model.tensors()) {
    CHECK(entry.second.type == dtype::F16);
  }
  const json index = json::parse(scratch::read_file(out / "model.safetensors.index.json"));
  CHECK(index["metadata"]["total_size"] == 2 * (16 * 16 + 16));
  CHECK(json::parse(scratch::read_file(out / "config.json"))["torch_dtype"] == "float16");
  CHECK(distance(read(model, q + ".weight"), read(base, q + ".weight") + 2 * B * A) < 1e-3);
}

TEST_CASE("merge: several weighted adapters add up") {
  const scratch::temporary_directory d;
  const tensors base = small_base();
  const fs::path file = save(d / "base.safetensors", base);
  tensors one;
  tensors two;
  const auto [A, B] = add_lora(one, q, 16, 16, 5);
  const auto [C, D] = add_lora(two, q, 16, 16, 6);
  merge_options o;
  o.adapters = {folder(d / "a", {}, one), folder(d / "b", {}, two)};
  o.weights = {0.5, -2};
  o.base = file;
  o.out = d / "m.safetensors";
  apps::adapter::merge(o);
  CHECK(distance(read(o.out, q + ".weight"), base.at(q + ".weight").values + B * A - 4 * D * C) <
        1e-6);
}

TEST_CASE(
    "merge: what acts only sometimes, or belongs to another model, is refused in every container") {
  const scratch::temporary_directory d;
  const fs::path base = save(d / "base.safetensors", small_base());
  for (const auto& setting : {std::pair<std::string, json>{"alora_invocation_tokens", {1, 2}},
                              std::pair<std::string, json>{"layer_replication", {{0, 1}}}}) {
    const std::string field = setting.first;
    const json value = setting.second;
    CAPTURE(field);
    tensors all;
    const auto [A, B] = add_lora(all, q, 16, 16, 5);
    CHECK_THROWS_WITH(merged(folder(d / field, {{field, value}}, all), base, d / "m.safetensors"),
                      Contains(field.c_str()));
    const json header = {{"r", 4}, {"lora_alpha", 8}, {field, value}};
    const fs::path file =
        save(d / (field + ".safetensors"), {{q + ".lora_A.weight", A}, {q + ".lora_B.weight", B}},
             {{"lora_adapter_metadata", header.dump()}});
    CHECK_THROWS_WITH(merged(file, base, d / "m.safetensors"), Contains(field.c_str()));
  }
}
