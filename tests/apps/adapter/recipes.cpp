// The recipes of docs/adapters.md, line by line as they stand there, on tiny models.
#include <CLI/CLI.hpp>
#include <functional>
#include <sstream>

#include "apps/adapter/command_line.hpp"
#include "cases.hpp"

using namespace cases;

namespace {

// The lines of the block between two marks, without their comments.
std::vector<std::string> recipe_lines() {
  const fs::path docs = fs::path(PREHEAT_GOLDEN_DIR_DEFAULT) / "../../docs/adapters.md";
  const std::string text = scratch::read_file(docs);
  const std::size_t begin = text.find("<!-- recipes -->");
  const std::size_t end = text.find("<!-- end of recipes -->");
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  std::istringstream block(text.substr(begin, end - begin));
  std::vector<std::string> lines;
  for (std::string line; std::getline(block, line);) {
    if (line.starts_with("preheat-adapter ")) {
      lines.push_back(line.substr(0, line.find(" #")));
    }
  }
  return lines;
}

// A program's command line, in this process.
void run_line(const std::string& line) {
  CLI::App app("", "preheat-adapter");
  app.require_subcommand(1);
  std::function<void()> run;
  std::vector<fs::path> targets;
  apps::adapter::describe_commands(app, run, targets);
  app.parse(line, true);
  run();
}

tensors model(double change) {
  tensors all;
  std::uint64_t seed = 1;
  for (const char* const name :
       {"bert.layer.0.query", "bert.layer.0.value", "bert.layer.1.query"}) {
    const matrix W = random(24, 16, seed) + change * random(24, 16, seed + 100);
    all.insert_or_assign(std::string(name) + ".weight", W);
    ++seed;
  }
  for (const char* const name : {"bert.norm.weight", "bert.norm.bias"}) {
    all.insert_or_assign(name, tensor(random(16, 1, seed) + change * random(16, 1, seed + 100),
                                      std::vector<index_t>{16}));
    ++seed;
  }
  const matrix embedding = random(30, 16, 50) + change * random(30, 16, 51);
  all.insert_or_assign("bert.embed_tokens.weight", embedding);
  return all;
}

void set_up() {
  for (const auto& [name, change] : {std::pair("base", 0.0), std::pair("tuned", 0.1)}) {
    save(fs::path(name) / "model.safetensors", model(change));
    scratch::write_file(fs::path(name) / "config.json", R"({"model_type": "bert"})");
  }
  tensors wrapped;
  for (const auto& [name, t] : model(0)) {
    wrapped.insert_or_assign("model." + name, t);
  }
  save("wrapped/model.safetensors", wrapped);
  std::uint64_t seed = 10;
  for (const char* const name : {"lora", "other", "dora"}) {
    tensors all;
    for (const char* const module : {"bert.layer.0.query", "bert.layer.1.query"}) {
      add_lora(all, module, 24, 16, seed++);
      if (name == std::string("dora")) {
        all.insert_or_assign(prefix + module + ".lora_magnitude_vector",
                             tensor(random(24, 1, seed++).cwiseAbs(), std::vector<index_t>{24}));
      }
    }
    folder(name, {{"target_modules", {"query"}}, {"use_dora", name == std::string("dora")}}, all);
  }
  // 64 stands for 2 in FP8; one scale per row.
  save("fp8.safetensors",
       {{"bert.layer.0.query.weight", {matrix::Constant(24, 16, 64), {24, 16}, dtype::F8_E4M3}},
        {"bert.layer.0.query.weight_scale", random(24, 1, 70)},
        {"bert.layer.1.query.weight", random(24, 16, 71)}});
  const std::string k = "lora_unet_bert_layer_0_query.";
  save("loha.safetensors", {{k + "hada_w1_a", random(24, 2, 61)},
                            {k + "hada_w1_b", random(2, 16, 62)},
                            {k + "hada_w2_a", random(24, 2, 63)},
                            {k + "hada_w2_b", random(2, 16, 64)},
                            {k + "alpha", number(1)}});
}

}  // namespace

TEST_CASE("docs: every recipe runs, and its numbers are right") {
  const scratch::temporary_directory d;
  const fs::path before = fs::current_path();
  fs::current_path(d.path());
  set_up();
  const std::vector<std::string> lines = recipe_lines();
  CHECK(lines.size() >= 10);
  for (const std::string& line : lines) {
    CAPTURE(line);
    std::string error = "none";
    try {
      run_line(line);
    } catch (const std::exception& failed) {
      error = failed.what();
    }
    CHECK(error == "none");
  }
  const std::string q = "bert.layer.0.query";
  const tensors base = model(0);
  const matrix W = base.at(q + ".weight").values;
  const matrix change = model(0.1).at(q + ".weight").values - W;
  const matrix extracted = delta(peft::reader("extracted"), q);
  const Eigen::VectorXd s = Eigen::JacobiSVD<Eigen::MatrixXd>(change).singularValues();
  CHECK((change - extracted).norm() == doctest::Approx(s.tail(s.size() - 8).norm()).epsilon(1e-3));
  CHECK((change - delta(peft::reader("extracted-all"), q)).squaredNorm() <
        0.1001 * change.squaredNorm());
  CHECK(peft::reader("extracted-all").others().size() == 3);
  const matrix lora = delta(peft::reader("lora"), q);
  const matrix other = delta(peft::reader("other"), q);
  CHECK(distance(read("merged", q + ".weight"), W + lora) < 1e-6);
  CHECK(distance(read("merged.safetensors", q + ".weight"), W + 0.7 * lora + 0.3 * other) < 1e-3);
  CHECK(distance(read("merged-wrapped.safetensors", "model." + q + ".weight"), W + lora) < 1e-6);
  CHECK(distance(delta(peft::reader("half-of-block-0"), q), 0.5 * lora) < 1e-6);
  CHECK(distance(read("from-fp8.safetensors", q + ".weight"),
                 2 * random(24, 1, 70).replicate(1, 16) + lora) < 4e-3);
  CHECK(delta(peft::reader("fewer-intruders"), q).norm() < lora.norm());
  CHECK(distance(delta(peft::reader("back"), q), lora) < 1e-6);
  // DoRA: diag(m/‖row‖)·(W + s·B·A) − W, whose best part of rank 8.
  const peft::reader dora("dora");
  matrix moved = W + delta(dora, q);
  const matrix m = read(dora.files(), dora.find(q)->magnitude);
  for (index_t i = 0; i < moved.rows(); ++i) {
    moved.row(i) *= m(i, 0) / moved.row(i).norm();
  }
  const matrix full = moved - W;
  const Eigen::VectorXd t = Eigen::JacobiSVD<Eigen::MatrixXd>(full).singularValues();
  CHECK((full - delta(peft::reader("plain"), q)).norm() ==
        doctest::Approx(t.tail(t.size() - 8).norm()).epsilon(1e-3));
  // LoHa: (w1_a·w1_b)∘(w2_a·w2_b)·α/r, of rank 4.
  const matrix loha =
      0.5 *
      (random(24, 2, 61) * random(2, 16, 62)).cwiseProduct(random(24, 2, 63) * random(2, 16, 64));
  CHECK(distance(delta(peft::reader("from-loha"), q), loha) < 1e-5);
  fs::current_path(before);
}
