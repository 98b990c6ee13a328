// The whole comparison on text, with a BERT of two narrow layers and sentences that are made up: it
// takes seconds and needs no network.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <preheat/core/random.hpp>
#include <preheat/safetensors/writer.hpp>

#include "studies/program_folder.hpp"
#include "studies/text/options.hpp"
#include "studies/text/run.hpp"
#include "support/scratch.hpp"

namespace {

using preheat::index_t;
using scratch::read_file;

// ------------------------------------------------------------------------- a model and sentences

constexpr index_t width = 16;
constexpr index_t inner_width = 32;
const std::vector<std::string> words = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad",
                                        "fine",  "poor",  "it",    "was",   "a",      "film", "."};

class tiny_model {
 public:
  void write(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    std::ofstream vocabulary(folder / "vocab.txt");
    for (const std::string& word : words) {
      vocabulary << word << '\n';
    }
    std::ofstream(folder / "config.json")
        << R"({"model_type": "bert", "hidden_act": "gelu", "hidden_size": 16, "num_hidden_layers": 2,
"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 128, "type_vocab_size": 2,
"vocab_size": 14, "layer_norm_eps": 1e-12})";
    add("embeddings.word_embeddings.weight", {index_t(words.size()), width});
    add("embeddings.position_embeddings.weight", {128, width});
    add("embeddings.token_type_embeddings.weight", {2, width});
    add_norm("embeddings.LayerNorm");
    for (const std::string block : {"encoder.layer.0.", "encoder.layer.1."}) {
      for (const std::string part : {"query", "key", "value"}) {
        add_linear(block + "attention.self." + part, width, width);
      }
      add_linear(block + "attention.output.dense", width, width);
      add_norm(block + "attention.output.LayerNorm");
      add_linear(block + "intermediate.dense", inner_width, width);
      add_linear(block + "output.dense", width, inner_width);
      add_norm(block + "output.LayerNorm");
    }
    std::vector<preheat::safetensors::named_tensor> tensors;
    for (const auto& [name, values] : values_) {
      tensors.push_back(
          {name,
           {preheat::safetensors::dtype::F32, shapes_.at(name), std::as_bytes(std::span(values))}});
    }
    preheat::safetensors::write(folder / "model.safetensors", tensors);
  }

 private:
  void add(const std::string& name, const std::vector<index_t>& shape, double size = 0.3,
           double centre = 0) {
    index_t count = 1;
    for (const index_t extent : shape) {
      count *= extent;
    }
    shapes_[name] = shape;
    for (index_t i = 0; i < count; ++i) {
      values_[name].push_back(float(centre + size * gen_.normal()));
    }
  }
  void add_linear(const std::string& name, index_t rows, index_t cols) {
    add(name + ".weight", {rows, cols});
    add(name + ".bias", {rows}, 0.1);
  }
  void add_norm(const std::string& name) {
    add(name + ".weight", {width}, 0.1, 1);
    add(name + ".bias", {width}, 0.1);
  }

  preheat::generator gen_{5};
  std::map<std::string, std::vector<index_t>> shapes_;
  std::map<std::string, std::vector<float>> values_;
};

// Sentences whose words say their sign, but for some.
void write_sentences(const std::filesystem::path& folder, const std::string& file) {
  std::filesystem::create_directories(folder);
  std::ofstream out(folder / file);
  preheat::generator gen(9);
  for (int i = 0; i < 160; ++i) {
    const bool positive = gen.uniform() < 0.5;
    const bool says_so = gen.uniform() < 0.9;
    const std::string word = positive == says_so ? (gen.uniform() < 0.5 ? "good" : "fine")
                                                 : (gen.uniform() < 0.5 ? "bad" : "poor");
    out << i / 4 << '_' << i % 4 << '\t' << (positive ? 1.5 : -1.5) << "\tit was a " << word
        << (i % 3 == 0 ? " film" : "") << (i % 5 == 0 ? "!" : ".") << "\r\n";
  }
}

class text_folder : public study_program::program_folder {
 public:
  text_folder() {
    tiny_model().write(*this / "data/minilm");
    write_sentences(*this / "data/sentiment", "tweets_GroundTruth.txt");
    write_sentences(*this / "data/sentiment", "amazonReviewSnippets_GroundTruth.txt");
  }
  int run(const std::string& out, const std::string& arguments) const {
    return program_folder::run("preheat-text", studies::text::parse, studies::text::run_all, out,
                               arguments);
  }
  std::string table(const std::string& out) const { return program_folder::table(out, 1); }
};

constexpr const char* small = "--steps 16 --batch 8 --validation 24 --test 32 --minutes 0 ";

// ------------------------------------------------------------------------------------------ tests

TEST_CASE("text: the same table however many threads, and after an interruption") {
  const text_folder folder;
  const std::string command =
      std::string(small) +
      "--sets tweets,amazon --methods head,lora,hrp,pissa,lora_ga --ranks 1,2 "
      "--lrs 0.003,0.01,0.03 --seeds 2 ";
  study_program::check_resumes(folder, command, 20);
  const std::string table = folder.table("whole");
  CHECK(table.find("tweets,2,hrp,HRP,") != std::string::npos);
  CHECK(table.find("amazon,1,lora_ga,") != std::string::npos);
  CHECK(read_file(folder / "whole/report.md").find("HRP against LoRA, Kaiming: test accuracy") !=
        std::string::npos);
  study_program::check_page(folder / "whole/report.html", "<td>HRP<td>");
  const std::string page = read_file(folder / "whole/report.html");
  CHECK(page.find("no review has sentences in two parts") != std::string::npos);
  if (std::filesystem::exists(folder / "whole/figures/accuracy.svg")) {
    CHECK(page.find("<svg") != std::string::npos);
    CHECK(page.find("id='f0-gpDot'") != std::string::npos);
  }
}

TEST_CASE("text: steps, batches and the head are the same for all, and calibration is charged") {
  const text_folder folder;
  CHECK(folder.run(
            "out",
            std::string(small) +
                "--sets tweets --methods head,lora,hrp,hrp_longer,lora_ga --lrs 0.01 --seeds 1 "
                "--no-report") == 0);
  const auto runs = folder.runs("out");
  REQUIRE(runs.size() == 5);
  std::map<std::string, studies::common::run_record> by_method;
  for (const auto& r : runs) {
    CHECK(r.status == "completed");
    CHECK(r.steps == 16);
    CHECK(r.training_curve.back().step == 16);
    CHECK(std::isfinite(r.test_loss));
    by_method[r.method] = r;
  }
  CHECK(by_method["head"].calibration_steps == 0);
  CHECK(by_method["lora"].calibration_steps == 0);
  CHECK(by_method["hrp"].calibration_steps == 1);
  CHECK(by_method["lora_ga"].calibration_steps == 2);
  CHECK(by_method["hrp"].training_curve.front().step == 2);
  // Before its first step LoRA is the base: the same head, the same first batch.
  CHECK(by_method["lora"].training_curve.front().loss ==
        by_method["head"].training_curve.front().loss);
  // r·(m + n) numbers a layer: 4 of 16×16, one of 32×16 and one of 16×32, twice.
  CHECK(by_method["lora"].trainable_parameters == 2 * 2 * (4 * 32 + 2 * 48));
  CHECK(by_method["hrp"].trainable_parameters == by_method["lora"].trainable_parameters);
}

TEST_CASE("text: every method of the list runs") {
  const text_folder folder;
  CHECK(folder.run("all",
                   "--sets tweets --methods all --lrs 0.003 --seeds 1 --steps 64 --batch 4 "
                   "--validation 8 --test 16 --minutes 0") == 0);
  std::set<std::string> done;
  for (const auto& r : folder.runs("all")) {
    CAPTURE(r.method);
    CHECK(r.status == "completed");
    CHECK(std::isfinite(r.test_loss));
    done.insert(r.method);
  }
  CHECK(done.size() == studies::text::all_methods().size());
  for (const char* const system :
       {"hrp", "lora", "xgblora", "rac_lora", "lora_pro", "rm_lora", "alora", "prolora", "prilora",
        "sora", "pissa", "lora_ga", "eva", "full"}) {
    CHECK(done.contains(system));
  }
}

TEST_CASE("text: when the time is up no run begins, and the rest is done later") {
  const text_folder folder;
  const std::string command =
      "--steps 16 --batch 8 --validation 24 --test 32 --sets tweets --methods lora,gaussian "
      "--lrs 0.003,0.01 --seeds 2 --no-report ";
  CHECK(folder.run("out", command + "--minutes 1e-9") == 0);
  CHECK(folder.runs("out").empty());
  CHECK_FALSE(std::filesystem::exists(folder / "out/summary.csv"));
  CHECK(folder.run("out", command + "--minutes 0") == 0);
  CHECK(std::filesystem::exists(folder / "out/summary.csv"));
}

TEST_CASE("text: other results are not taken for these") {
  const text_folder folder;
  const std::string command =
      "--sets tweets --methods lora --lrs 0.01 --seeds 1 --no-report "
      "--validation 24 --test 32 --minutes 0 --steps 12 ";
  CHECK(folder.run("out", command + "--batch 8") == 0);
  CHECK(folder.run("out", command + "--batch 4") == 0);
  CHECK(folder.runs("out").size() == 2);
  // Another sentence, another run.
  std::ofstream(folder / "data/sentiment/tweets_GroundTruth.txt", std::ios::app)
      << "99_1\t2\tgood\r\n";
  CHECK(folder.run("out", command + "--batch 4") == 0);
  CHECK(folder.runs("out").size() == 3);
}

TEST_CASE("text: what is missing is said") {
  const text_folder folder;
  CHECK_THROWS_WITH_AS(folder.run("out", "--sets movie --minutes 0"),
                       ((folder / "data/sentiment/movieReviewSnippets_GroundTruth.txt").string() +
                        ": cannot be opened")
                           .c_str(),
                       std::runtime_error);
  std::filesystem::remove_all(folder / "data/minilm");
  CHECK_THROWS_WITH_AS(folder.run("out", "--sets tweets --minutes 0"),
                       ("there is no " + (folder / "data/minilm").string() +
                        "; ./run text --fetch brings the model and the sentences")
                           .c_str(),
                       std::runtime_error);
}

}  // namespace
