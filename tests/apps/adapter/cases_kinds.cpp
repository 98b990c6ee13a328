// More of the kinds of fault in cases_merge.cpp, cases_sums.cpp and cases_formats.cpp: blocks, unknown tensors, text
// encoders, heads tied by default, dry runs. And intruder dimensions.
#include <preheat/linalg/nf4.hpp>

#include "cases.hpp"

using namespace cases;
using apps::adapter::convert_options;
using apps::adapter::extract_options;
using apps::adapter::inspect_options;
using apps::adapter::merge_options;
using apps::adapter::reduce_options;
using doctest::Contains;
using style = convert_options::style;

namespace {

const std::string q0 = "model.layers.0.q_proj";
const std::string q1 = "model.layers.1.q_proj";

tensor vector(const matrix& M) {
  return {M, std::vector<index_t>{M.size()}};
}

fs::path by_layers(const fs::path& adapter, const fs::path& out, const std::string& layers) {
  return reduced({adapter}, out, 0, with<reduce_options>([&](auto& o) {
                   o.type = reduce_options::kind::cat;
                   o.layers = {layers};
                 }));
}

fs::path converted(const fs::path& adapter, const fs::path& out, style to, convert_options o = {}) {
  o.adapter = adapter;
  o.out = out;
  o.to = to;
  apps::adapter::convert(o);
  return out;
}

std::vector<std::string> modules_of(const fs::path& adapter) {
  std::vector<std::string> names;
  const peft::reader read(adapter);
  for (const peft::adapter_layer& l : read.layers()) {
    names.push_back(l.module);
  }
  return names;
}

}  // namespace

TEST_CASE("layers: a block's weight is that of its magnitudes, differences and whole tensors") {
  const scratch::temporary_directory d;
  tensors all;
  add_lora(all, q0, 16, 16, 1);
  add_lora(all, q1, 16, 16, 2);
  tensors dora = all;
  for (const std::string& module : {q0, q1}) {
    dora.insert_or_assign(prefix + module + ".lora_magnitude_vector",
                          vector(random(16, 1, 3).cwiseAbs()));
  }
  const fs::path with_dora = folder(d / "dora", {{"use_dora", true}}, dora);
  CHECK(peft::reader(by_layers(with_dora, d / "a", "0=0")).files().tensors().size() == 3);
  CHECK_THROWS_WITH(by_layers(with_dora, d / "b", "0=0.5"), Contains("DoRA, which a weight"));
  tensors diff = all;
  const matrix change = random(16, 1, 4);
  diff.insert_or_assign(prefix + "model.layers.0.norm.diff", vector(change));
  const fs::path with_diff = folder(d / "diff", {}, diff);
  const peft::reader half(by_layers(with_diff, d / "c", "0=0.5"));
  CHECK(distance(read(half.files(), prefix + "model.layers.0.norm.diff"), 0.5 * change) < 1e-6);
  CHECK(peft::reader(by_layers(with_diff, d / "e", "0=0")).others().empty());
  tensors whole = all;
  whole.insert_or_assign(prefix + "model.layers.0.norm.weight", vector(change));
  const fs::path with_whole = folder(d / "whole", {{"modules_to_save", {"norm"}}}, whole);
  CHECK_THROWS_WITH(by_layers(with_whole, d / "f", "0=0.5"), Contains("cannot be scaled"));
}

TEST_CASE("unknown: a tensor that belongs to no pair of factors is not passed on") {
  const scratch::temporary_directory d;
  for (const std::string name : {"lora_unet_b.hada_w1_a", "unet.q.processor.to_q_lora.down.weight",
                                 "x.alpha", "model.layers.0.q_proj.oft_R.weight"}) {
    CAPTURE(name);
    tensors all = {{name, random(4, 4, 1)}};
    all.insert_or_assign("a.lora_down.weight", random(4, 16, 2));
    all.insert_or_assign("a.lora_up.weight", random(16, 4, 3));
    const fs::path file = save(d / "x.safetensors", all);
    CHECK_THROWS_WITH(reduced({file}, d / "y.safetensors", 2), Contains(name.c_str()));
    fs::remove(file);
  }
  // The names of old diffusers are understood.
  const matrix A = random(4, 16, 2);
  const matrix B = random(16, 4, 3);
  for (const std::string name : {".lora", ".lora_linear_layer"}) {
    const fs::path file = save(d / (name + ".safetensors"), {{"unet.q" + name + ".down.weight", A},
                                                             {"unet.q" + name + ".up.weight", B}});
    CHECK(distance(delta(peft::reader(reduced({file}, d / (name + "-s.safetensors"), 4)), "unet.q"),
                   B * A) < 1e-5);
  }
}

TEST_CASE("convert: text encoders keep their place, and what a format cannot say is refused") {
  const scratch::temporary_directory d;
  tensors all;
  for (const std::string module :
       {"transformer.a.b", "text_encoder.c.d", "text_encoder_2.c.d", "text_encoder_3.c.d"}) {
    all.insert_or_assign(module + ".lora_A.weight", random(4, 16, 1));
    all.insert_or_assign(module + ".lora_B.weight", random(16, 4, 2));
  }
  const fs::path file = save(d / "x.safetensors", all);
  const std::vector<std::string> kohya = {"lora_te1_c_d", "lora_te2_c_d", "lora_te3_c_d",
                                          "lora_unet_a_b"};
  const fs::path k = converted(file, d / "k.safetensors", style::kohya);
  CHECK(modules_of(k) == kohya);
  CHECK(modules_of(converted(k, d / "kk.safetensors", style::kohya)) == kohya);
  CHECK(modules_of(converted(file, d / "c.safetensors", style::comfy)) ==
        std::vector<std::string>{"diffusion_model.a.b", "text_encoder.c.d", "text_encoder_2.c.d",
                                 "text_encoder_3.c.d"});
  CHECK_THROWS_WITH(converted(file, d / "p", style::peft), Contains("several models"));
  tensors one;
  add_lora(one, q0, 16, 16, 1);
  for (const char* const field : {"alora_invocation_tokens", "layer_replication"}) {
    const fs::path a = folder(d / field, {{field, {1, 2}}}, one);
    CHECK_THROWS_WITH(converted(a, d / "y.safetensors", style::kohya), Contains(field));
  }
  // A saved tensor goes under the base's name, as the factors do.
  one.insert_or_assign(prefix + "model.head.weight", random(3, 16, 5));
  const fs::path base =
      save(d / "base.safetensors", {{"wrapped.layers.0.q_proj.weight", random(16, 16, 6)},
                                    {"wrapped.head.weight", random(3, 16, 7)}});
  const peft::reader renamed(converted(folder(d / "s", {{"modules_to_save", {"head"}}}, one),
                                       d / "r", style::peft, with<convert_options>([&](auto& o) {
                                         o.base = base;
                                         o.map = {"model=wrapped"};
                                       })));
  CHECK(renamed.files().contains(prefix + "wrapped.head.weight"));
  CHECK(renamed.find("wrapped.layers.0.q_proj") != nullptr);
  // A dry run reads the numbers.
  tensors bad = one;
  bad.insert_or_assign(prefix + q0 + ".lora_A.weight", matrix(matrix::Constant(4, 16, NAN)));
  CHECK_THROWS_WITH(converted(folder(d / "n", {}, bad), d / "never", style::peft,
                              with<convert_options>([](auto& o) { o.dry_run = true; })),
                    Contains("NaN"));
}

TEST_CASE("merge: heads tied by default, diffusers' folders, and two modules for one weight") {
  const scratch::temporary_directory d;
  const matrix E = random(40, 16, 1);
  for (const std::string type : {"gemma", "gpt2", "t5"}) {
    CAPTURE(type);
    const std::string embedding = type == "gemma"  ? "model.embed_tokens.weight"
                                  : type == "gpt2" ? "wte.weight"
                                                   : "shared.weight";
    save(d / type / "model.safetensors", {{embedding, E}});
    scratch::write_file(d / type / "config.json", json({{"model_type", type}}).dump());
    tensors all;
    const auto [A, B] = add_lora(all, "lm_head", 40, 16, 2);
    const fs::path out = merged(folder(d / (type + "-a"), {{"target_modules", {"lm_head"}}}, all),
                                d / type, d / (type + "-m"));
    CHECK(distance(read(out / "model.safetensors", "lm_head.weight"), E + 2 * B * A) < 1e-6);
    CHECK(distance(read(out / "model.safetensors", embedding), E) == 0);
    CHECK(json::parse(scratch::read_file(out / "config.json"))["tie_word_embeddings"] == false);
  }
  const matrix W = random(16, 16, 3);
  const matrix A = random(4, 16, 4);
  const matrix B = random(16, 4, 5);
  save(d / "unet" / "diffusion_pytorch_model.safetensors", {{"x.a_b.weight", W}});
  tensors all = {{"unet.x.a_b.lora_A.weight", A}, {"unet.x.a_b.lora_B.weight", B}};
  const fs::path file = save(d / "u.safetensors", all);
  const fs::path out = merged(file, d / "unet", d / "unet-m");
  CHECK(distance(read(out / "diffusion_pytorch_model.safetensors", "x.a_b.weight"), W + B * A) <
        1e-6);
  all.insert_or_assign("lora_unet_x_a_b.lora_down.weight", A);
  all.insert_or_assign("lora_unet_x_a_b.lora_up.weight", B);
  CHECK_THROWS_WITH(merged(save(d / "two.safetensors", all), d / "unet", d / "never"),
                    Contains("keep one of the two"));
}

TEST_CASE(
    "dtype, scales, layouts: what is asked for holds for all that is written, or is refused") {
  const scratch::temporary_directory d;
  tensors all;
  add_lora(all, q0, 16, 16, 1);
  tensors saved = all;
  const matrix head = random(3, 16, 2);
  saved.insert_or_assign(prefix + "head.weight", head);
  const peft::reader small(reduced({folder(d / "a", {{"modules_to_save", {"head"}}}, saved)},
                                   d / "b", 2,
                                   with<reduce_options>([](auto& o) { o.stored = dtype::BF16; })));
  CHECK(small.files().info(prefix + "head.weight").type == dtype::BF16);
  CHECK(distance(read(small.files(), prefix + "head.weight"), head) < 4e-3);
  for (const double alpha : {1e300, 1e-300}) {
    const fs::path a = folder(d / std::to_string(alpha > 1), {{"lora_alpha", alpha}}, all);
    CHECK_THROWS_WITH(reduced({a}, d / "never", 2), Contains((q0 + ": its scale").c_str()));
  }
  save(d / "w.safetensors", {{"h.0.attn.c_proj.weight", random(16, 16, 3)}});
  save(d / "t.safetensors", {{"h.0.attn.c_proj.weight", random(16, 16, 4)}});
  CHECK_THROWS_WITH(apps::adapter::extract(with<extract_options>([&](auto& o) {
                      o.tuned = d / "t.safetensors";
                      o.base = d / "w.safetensors";
                      o.rank = 2;
                      o.out = d / "never";
                    })),
                    Contains("--layout"));
}

TEST_CASE("merge: bases in NF4, FP8 and GGUF are dequantized to the dtype that is asked for") {
  const scratch::temporary_directory d;
  const auto to_f32 = [](auto& o) { o.stored = dtype::F32; };
  const fs::path golden = PREHEAT_GOLDEN_DIR_DEFAULT;
  // bitsandbytes, with and without double quantization.
  const safetensors::tensor_files nf4(golden / "nf4.safetensors");
  const matrix plain = read(nf4, "W");
  const index_t rows = plain.rows();
  const index_t cols = plain.cols();
  tensors all;
  const auto [A, B] = add_lora(all, "q_proj", rows, cols, 1);
  const fs::path adapter = folder(d / "a", {}, all);
  matrix levels(16, 1);
  std::copy(std::begin(preheat::linalg::nf4_levels), std::end(preheat::linalg::nf4_levels),
            levels.data());
  for (const std::string kind : {"plain", "nested"}) {
    CAPTURE(kind);
    json state = {
        {"quant_type", "nf4"}, {"blocksize", 64}, {"dtype", "float32"}, {"shape", {rows, cols}}};
    const std::string w = "q_proj.weight";
    tensors base = {
        {w, {read(nf4, kind + ".codes"), {nf4.info(kind + ".codes").count(), 1}, dtype::U8}},
        {w + ".quant_map", vector(levels)},
        {"norm.weight", random(4, 1, 2)}};
    if (kind == "plain") {
      base.insert_or_assign(w + ".absmax", vector(read(nf4, "plain.absmax")));
    } else {
      state["nested_blocksize"] = 256;
      state["nested_offset"] = read(nf4, "nested.offset")(0, 0);
      const matrix codes = read(nf4, "nested.absmax_codes");
      base.insert_or_assign(w + ".absmax",
                            tensor(codes, std::vector<index_t>{codes.size()}, dtype::U8));
      base.insert_or_assign(w + ".nested_absmax", vector(read(nf4, "nested.scales")));
      base.insert_or_assign(w + ".nested_quant_map", vector(read(nf4, "nested.code")));
    }
    const std::string text = state.dump();
    matrix bytes(index_t(text.size()), 1);
    std::copy(text.begin(), text.end(), bytes.data());
    base.insert_or_assign(w + ".quant_state.bitsandbytes__nf4",
                          tensor(bytes, std::vector<index_t>{bytes.size()}, dtype::U8));
    const fs::path file = save(d / (kind + ".safetensors"), base);
    CHECK_THROWS_WITH(merged(adapter, file, d / "never.safetensors"), Contains("--dtype"));
    const fs::path out =
        merged(adapter, file, d / (kind + "-m.safetensors"), with<merge_options>(to_f32));
    CHECK(safetensors::tensor_files(out).tensors().size() == 2);
    CHECK(distance(read(out, w), read(nf4, kind + ".dequantized") + 2 * B * A) < 1e-6);
    base.erase(w + ".absmax");
    CHECK_THROWS_WITH(merged(adapter, save(d / (kind + "-bad.safetensors"), base),
                             d / "never.safetensors", with<merge_options>(to_f32)),
                      Contains("absmax"));
  }
  // FP8 with a scale for blocks of 4×8.
  matrix codes(8, 16);
  matrix values(8, 16);
  const matrix scales = random(2, 2, 3);
  for (index_t i = 0; i < codes.size(); ++i) {
    const int byte = int((37 * i + 11) % 256);
    const int code = (byte & 0x7F) == 0x7F ? 0 : byte;
    const int exponent = (code >> 3) & 15;
    const double fraction = (code & 7) / 8.0;
    const double size =
        exponent == 0 ? std::pow(2.0, -6) * fraction : std::pow(2.0, exponent - 7) * (1 + fraction);
    codes.data()[i] = code;
    values.data()[i] = (code & 0x80 ? -size : size) * scales(i / 16 / 4, i % 16 / 8);
  }
  save(d / "fp8" / "model.safetensors",
       {{"q_proj.weight", {codes, {8, 16}, dtype::F8_E4M3}}, {"q_proj.weight_scale_inv", scales}});
  scratch::write_file(
      d / "fp8" / "config.json",
      R"({"model_type": "x", "quantization_config": {"weight_block_size": [4, 8]}})");
  tensors small;
  const auto [A8, B8] = add_lora(small, "q_proj", 8, 16, 4);
  const fs::path out =
      merged(folder(d / "a8", {}, small), d / "fp8", d / "m8", with<merge_options>(to_f32));
  CHECK(distance(read(out, "q_proj.weight"), values + 2 * B8 * A8) < 1e-6);
  CHECK_FALSE(json::parse(scratch::read_file(out / "config.json")).contains("quantization_config"));
  // GGUF: the same model as in safetensors.
  const fs::path gguf = golden / "gguf/model";
  const safetensors::tensor_files right(
      merged(gguf / "adapter", gguf / "hf", d / "hf.safetensors"));
  const safetensors::tensor_files found(merged(gguf / "adapter", gguf / "model-f32.gguf",
                                               d / "gguf.safetensors",
                                               with<merge_options>(to_f32)));
  for (const auto& entry : right.tensors()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    CHECK(distance(read(found, name), read(right, name)) < 1e-7);
  }
  CHECK_THROWS_WITH(merged(gguf / "adapter", gguf / "model-f32.gguf", d / "never.safetensors"),
                    Contains("--dtype"));
  for (const auto& entry : fs::directory_iterator(d.path())) {
    CHECK(entry.path().string().find(".tmp-") == std::string::npos);
  }
}

TEST_CASE("intruders: they are found, and scaled as PEFT's reduce_intruder_dimension does") {
  const scratch::temporary_directory d;
  // W has the singular values 16 … 1; ΔW of rank 2 mixes many directions, and is large.
  const auto basis = [](std::uint64_t seed, index_t rows) {
    const matrix Q = Eigen::HouseholderQR<matrix>(random(rows, rows, seed)).householderQ();
    return Q;
  };
  Eigen::VectorXd s(12);
  s.setLinSpaced(12, 12, 1);
  matrix W = basis(1, 20).leftCols(12) * s.asDiagonal() * basis(2, 12);
  W = W.cast<float>().cast<double>();
  tensors all;
  const auto [A, B] = add_lora(all, q0, 20, 12, 5, 2);
  const fs::path adapter = folder(d / "a", {{"r", 2}, {"lora_alpha", 2}}, all);
  const fs::path base = save(d / "w.safetensors", {{q0 + ".weight", W}});
  const matrix change = B * A;
  const Eigen::JacobiSVD<Eigen::MatrixXd> of_base(W, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::JacobiSVD<Eigen::MatrixXd> of_sum(W + change,
                                                 Eigen::ComputeThinU | Eigen::ComputeThinV);
  const double threshold = 0.7;
  matrix scaled = change;
  index_t count = 0;
  for (index_t j = 0; j < 4; ++j) {
    const double most =
        (of_base.matrixU().transpose() * of_sum.matrixU().col(j)).cwiseAbs().maxCoeff();
    REQUIRE(std::abs(most - threshold) > 1e-3);
    if (most < threshold) {
      scaled -= 0.25 * of_sum.singularValues()[j] * of_sum.matrixU().col(j) *
                of_sum.matrixV().col(j).transpose();
      ++count;
    }
  }
  REQUIRE(count > 0);
  const Eigen::JacobiSVD<Eigen::MatrixXd> best(scaled, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const matrix right = best.matrixU().leftCols(2) * best.singularValues().head(2).asDiagonal() *
                       best.matrixV().leftCols(2).transpose();
  const auto set = [&](auto& o) {
    o.base = base;
    o.intruders = {.first = 4, .threshold = threshold};
  };
  const fs::path out = reduced({adapter}, d / "b", 0, with<reduce_options>([&](auto& o) {
                                 set(o);
                                 o.remove_intruders = true;
                               }));
  CHECK(distance(delta(peft::reader(out), q0), right) < 1e-5);
  apps::adapter::inspect(with<inspect_options>([&](auto& o) {
    set(o);
    o.adapter = adapter;
    o.json = d / "report.json";
  }));
  const json report = json::parse(scratch::read_file(d / "report.json"));
  CHECK(index_t(report["layers"][0]["intruders"].size()) == count);
  CHECK(report["layers"][0]["similarity_to_base"].size() == 4);
  CHECK_THROWS_WITH(reduced({adapter}, d / "c", 0,
                            with<reduce_options>([](auto& o) { o.remove_intruders = true; })),
                    Contains("--base"));
}
