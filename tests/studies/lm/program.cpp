// The whole comparison on definitions, with a language model of two narrow blocks and a WordNet that is
// made up: it takes seconds and needs no network.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <preheat/core/random.hpp>

#include "studies/lm/methods.hpp"
#include "studies/lm/options.hpp"
#include "studies/lm/run.hpp"
#include "studies/program_folder.hpp"
#include "support/scratch.hpp"

namespace {

using scratch::read_file;

// Words and glosses of two parts each, of which the first ones determine each other.
void write_wordnet(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const std::vector<std::string> kinds = {"cat", "dog", "tree", "rock"};
  const std::vector<std::string> glosses = {"a small animal", "a loyal animal", "a tall plant",
                                            "a hard thing"};
  std::ofstream data(folder / "data.noun");
  std::ofstream index(folder / "index.noun");
  for (int i = 0; i < 120; ++i) {
    const std::string word = kinds[std::size_t(i % 4)] + std::to_string(i);
    const std::string number = std::to_string(10000000 + i);
    data << number << " 03 n 01 " << word << " 0 000 | " << glosses[std::size_t(i % 4)] << "  \n";
    index << word << " n 1 0 1 0 " << number << "  \n";
  }
  for (const std::string part : {"verb", "adj", "adv"}) {
    std::ofstream(folder / ("data." + part));
    std::ofstream(folder / ("index." + part));
  }
}

class lm_folder : public study_program::program_folder {
 public:
  lm_folder() {
    write_wordnet(*this / "data/wordnet");
    std::filesystem::copy_file(PREHEAT_GOLDEN_DIR_DEFAULT "/gguf/model/model-f32.gguf",
                               *this / "data/model.gguf");
    std::ofstream quotations(*this / "data/literature");
    for (int i = 0; i < 20; ++i) {
      quotations << "It was the best of times, said number " << i << ".\n\t\t-- nobody\n%\n";
    }
  }
  int run(const std::string& out, const std::string& arguments) const {
    return program_folder::run("preheat-lm", studies::lm::parse, studies::lm::run_all, out,
                               "--validation 8 --test 12 --drift 6 --minutes 0 " + arguments);
  }
  std::string table(const std::string& out) const { return program_folder::table(out, 3); }
  std::map<std::string, studies::common::run_record> by_method(const std::string& out) const {
    std::map<std::string, studies::common::run_record> found;
    for (const auto& r : runs(out)) {
      found[r.method] = r;
    }
    return found;
  }
};

TEST_CASE("lm: the same table however many threads, and after an interruption") {
  const lm_folder folder;
  study_program::check_resumes(
      folder,
      "--methods base,lora,hrp,pissa --ranks 2,4 --lrs 0.003,0.01 --seeds 2 --steps 12 --batch 4 ",
      9);
  const std::string table = folder.table("whole");
  CHECK(table.find("\n4,hrp,HRP,") != std::string::npos);
  CHECK(table.find("\n2,base,the model as it was,") != std::string::npos);
  CHECK(read_file(folder / "whole/report.md").find("HRP against LoRA, Kaiming: eval loss") !=
        std::string::npos);
  for (const std::string row :
       {"<td>HRP<td>", "<td>the dictionary<td>a ", "<td>the model as it was<td>"}) {
    study_program::check_page(folder / "whole/report.html", row);
  }
}

TEST_CASE("lm: runs learn, are charged alike, and are measured") {
  const lm_folder folder;
  CHECK(folder.run("out",
                   "--methods base,lora,hrp,lora_ga --lrs 0.01 --seeds 1 --steps 60 --batch 8 "
                   "--no-report") == 0);
  auto by_method = folder.by_method("out");
  REQUIRE(by_method.size() == 4);
  for (const auto& [method, r] : by_method) {
    CHECK(r.status == "completed");
  }
  const auto& base = by_method["base"];
  CHECK(base.trainable_parameters == 0);
  CHECK(base.samples.size() == 3);
  CHECK(base.calibration_steps == 0);
  CHECK(by_method["hrp"].calibration_steps == 1);
  CHECK(by_method["lora_ga"].calibration_steps == 2);
  for (const char* const name : {"lora", "hrp", "lora_ga"}) {
    CAPTURE(name);
    const auto& r = by_method[name];
    CHECK(r.test_loss < base.test_loss - 1);
    CHECK(r.test_accuracy > base.test_accuracy + 0.2);
    CHECK(r.steps == 60);
    CHECK(r.training_curve.back().step == 60);
    CHECK(r.measures.at(studies::lm::tokens_per_second) > 0);
    CHECK(r.measures.at(studies::lm::peak_memory) > 1);
    CHECK(std::isfinite(r.measures.at(studies::lm::drift_loss)));
    CHECK(r.measures.at(studies::lm::drift_loss) != base.measures.at(studies::lm::drift_loss));
    // 4·(rows + columns) numbers a layer: q and o of 64×64, k and v of 32×64, three of 96 and 64.
    CHECK(r.trainable_parameters == 2 * 4 * (2 * 128 + 2 * 96 + 3 * 160));
    for (const std::string& sample : r.samples) {
      CHECK(sample.find('\n') == std::string::npos);
    }
  }
}

TEST_CASE("lm: every method of the list runs") {
  const lm_folder folder;
  CHECK(folder.run("all", "--methods all --lrs 0.003 --seeds 1 --steps 12 --batch 2 --no-report") ==
        0);
  std::set<std::string> done;
  for (const auto& r : folder.runs("all")) {
    CAPTURE(r.method);
    CHECK(r.status == "completed");
    CHECK(std::isfinite(r.test_loss));
    done.insert(r.method);
  }
  CHECK(done.size() == studies::lm::all_methods().size());
  for (const char* const name : {"base", "lora", "hrp", "pissa", "lora_ga", "eva", "full"}) {
    CHECK(done.contains(name));
  }
}

TEST_CASE("lm: variants of the starts are methods, and what explains them is measured") {
  const lm_folder folder;
  CHECK(folder.run("variants",
                   "--methods lora,hrp --preheat-multiples 1,4 --preheat-steps 3 --row-norms 0.5 "
                   "--lrs 0.003 --seeds 1 --steps 12 --batch 2 --why --no-report") == 0);
  auto by_method = folder.by_method("variants");
  REQUIRE(by_method.size() == 3);
  CHECK(by_method["hrp_x4_k3_n0.5"].name == "HRP, R = 4 r, 3 steps, norm 0.5");
  CHECK(by_method["lora_n0.5"].calibration_steps == 0);
  for (const char* const name : {"hrp_x1_k3_n0.5", "hrp_x4_k3_n0.5", "lora_n0.5"}) {
    CAPTURE(name);
    const auto& r = by_method[name];
    CHECK(r.status == "completed");
    CHECK(r.measures.at(studies::lm::start_curvature) > 0);
    for (const char* const share :
         {studies::lm::full_share_at_start, studies::lm::full_share_at_end}) {
      CHECK(r.measures.at(share) > 0);
      CHECK(r.measures.at(share) < 1);
    }
    const bool preheated = r.method != "lora_n0.5";
    CHECK(r.calibration_steps == (preheated ? 3 : 0));
    CHECK(r.measures.contains(studies::lm::preheated_share) == preheated);
  }
  // Preheating at the run's own rank has no other directions than those that are taken.
  CHECK(by_method["hrp_x1_k3_n0.5"].measures.at(studies::lm::preheated_share) ==
        doctest::Approx(1));
  const auto& wide = by_method["hrp_x4_k3_n0.5"].measures;
  CHECK(wide.at(studies::lm::preheated_share) < 1);
  CHECK(wide.at(studies::lm::preheated_directions) > 1);
  // After three steps its directions have more of what full fine-tuning changes than random ones.
  CHECK(wide.at(studies::lm::full_share_at_start) >
        by_method["lora_n0.5"].measures.at(studies::lm::full_share_at_start));
}

TEST_CASE("lm: shares of the methods are disjoint, and others are refused") {
  const auto parsed = [](std::vector<const char*> words) {
    words.insert(words.begin(), {"preheat-lm", "--methods", "lora,hrp,pissa"});
    return studies::lm::parse(int(words.size()), words.data());
  };
  const auto names = [&](const char* share) {
    std::vector<std::string> all;
    const studies::lm::options wanted = parsed({"--share", share}).wanted.value();
    for (const auto& m : wanted.methods) {
      all.push_back(m.id);
    }
    return all;
  };
  CHECK(names("1/1") == std::vector<std::string>{"lora", "pissa", "hrp"});
  CHECK(names("1/2") == std::vector<std::string>{"lora", "hrp"});
  CHECK(names("2/2") == std::vector<std::string>{"pissa"});
  for (const char* const share :
       {"0/2", "3/2", "4/4", "2", "/2", "1/", "1/2/3", "a/b", "1/99999"}) {
    CAPTURE(share);
    CHECK(parsed({"--share", share}).exit_code == 2);
  }
  CHECK(parsed({"--device", "cuda"}).exit_code == 2);  // by main.cpp, which becomes another program
  CHECK(parsed({"--device", "tpu"}).exit_code == 2);
  CHECK(parsed({"--samples", "0"}).wanted.value().training.samples == 0);
  CHECK(!parsed({"--no-fingerprint"}).wanted.value().fingerprints);
}

TEST_CASE("lm: what is missing is said") {
  const lm_folder folder;
  std::filesystem::remove(folder / "data/literature");
  CHECK_THROWS_WITH_AS(folder.run("out", "--methods base"),
                       ("there is no " + (folder / "data/literature").string() +
                        "; ./run lm --fetch brings the model and the texts")
                           .c_str(),
                       std::runtime_error);
}

}  // namespace
